/* Memory of torch's tensors on a CPU: one stretch of addresses, cut and joined, that is never given back.

   malloc lays a small object into a gap between two tensors, and the gap is lost; it also asks for more than a tensor
   needs to align it, so that one does not fit where one of its size was before. Here a step of GPT-2 124M leaves gaps of
   0.05 GB beside 2.0 in use. Pages are huge where the system has them, which makes a step 3 to 5 % faster.

       |tensor|hole|tensor|tensor|hole|tensor|............................. untouched, so it costs nothing .......|

   A tensor takes the smallest hole that it fits, and of equals the lowest; a hole is one with its neighbours. Small
   tensors, and what finds no place here, are torch's own allocator's (posix_memalign). */

#include <sys/mman.h>
#include <unistd.h>

#include <fstream>
#include <iterator>
#include <map>
#include <mutex>
#include <set>
#include <utility>

#include <c10/core/CPUAllocator.h>
#include <c10/core/impl/alloc_cpu.h>

namespace {

constexpr size_t LEAST = 1 << 16;   /* bytes of a tensor that is kept here */
constexpr size_t LINE = 64;         /* bytes to which a tensor is aligned, as torch does it */
constexpr size_t APART = 5 * LINE;  /* between tensors: sizes are multiples of a page, and a cache wants other places */

class Arena {
  public:
    Arena(char *first, size_t size) : first(first), end(first + size) { add(first, size); }

    /* A place for `size` bytes, or nullptr. */
    char *take(size_t size) {
        if (size > static_cast<size_t>(end - first)) return nullptr;
        size = (size + LINE - 1) / LINE * LINE + APART;
        const std::lock_guard<std::mutex> guard(lock);
        const auto found = by_size.lower_bound({size, nullptr});
        if (found == by_size.end()) return nullptr;
        const auto [room, place] = *found;
        drop(holes.find(place));
        if (room > size) add(place + size, room - size);
        taken[place] = size;
        used += size;
        return place;
    }

    /* The place is a hole again, one with the holes before and behind it. */
    void give_back(char *place) {
        const std::lock_guard<std::mutex> guard(lock);
        const auto mine = taken.find(place);
        size_t size = mine->second;
        taken.erase(mine);
        used -= size;
        const auto behind = holes.find(place + size);
        if (behind != holes.end()) {
            size += behind->second;
            drop(behind);
        }
        const auto next = holes.lower_bound(place);
        if (next != holes.begin()) {
            const auto before = std::prev(next);
            if (before->first + before->second == place) {
                place = before->first;
                size += before->second;
                drop(before);
            }
        }
        add(place, size);
    }

    bool holds(const void *place) const { return place >= first && place < end; }

    size_t bytes_used() {
        const std::lock_guard<std::mutex> guard(lock);
        return used;
    }

  private:
    void add(char *place, size_t size) {
        holes[place] = size;
        by_size.insert({size, place});
    }

    void drop(std::map<char *, size_t>::iterator hole) {
        by_size.erase({hole->second, hole->first});
        holes.erase(hole);
    }

    char *const first, *const end;
    std::mutex lock;
    size_t used = 0;
    std::map<char *, size_t> taken, holes;        /* place -> bytes */
    std::set<std::pair<size_t, char *>> by_size;  /* the holes once more */
};

Arena *arena = nullptr; /* once made, for the life of the process: tensors may outlive everything else */

void release(void *place) {
    if (arena->holds(place)) arena->give_back(static_cast<char *>(place));
    else c10::free_cpu(place);
}

struct Allocator final : c10::Allocator {
    c10::DataPtr allocate(size_t size) override {
        void *place = size < LEAST ? nullptr : arena->take(size);
        if (place == nullptr) place = c10::alloc_cpu(size);
        return {place, place, &release, c10::Device(c10::DeviceType::CPU)};
    }
    c10::DeleterFnPtr raw_deleter() const override { return &release; }
    void copy_data(void *to, const void *from, size_t size) const override { default_copy_data(to, from, size); }
};

}  // namespace

/* Whether the system counts addresses as if they were used: then a stretch as large as the memory is not to be had. */
static bool counts_addresses() {
    int mode = 0;
    std::ifstream("/proc/sys/vm/overcommit_memory") >> mode;
    return mode == 2;
}

/* From now on, for tensors that are made. Returns 0, or 1 where the system gives no addresses. */
extern "C" int tohum_tensor_memory() {
    if (arena != nullptr) return 0;
    if (counts_addresses()) return 1;
    const size_t size = static_cast<size_t>(sysconf(_SC_PHYS_PAGES)) * static_cast<size_t>(sysconf(_SC_PAGESIZE));
    void *place = mmap(nullptr, size, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
    if (place == MAP_FAILED) return 1;
    madvise(place, size, MADV_HUGEPAGE); /* a wish */
    arena = new Arena(static_cast<char *>(place), size);
    c10::SetCPUAllocator(new Allocator);
    return 0;
}

/* Bytes of tensors that are here now. */
extern "C" size_t tohum_tensor_bytes() { return arena == nullptr ? 0 : arena->bytes_used(); }
