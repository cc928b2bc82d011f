/* Words and their counts -> the merges of byte-pair encoding (arXiv:1508.07909), the same as those of `tokenizers`.

   The most frequent pair of neighbours becomes a token, again and again; of equally frequent ones the smaller pair of
   ids. A pair's count is kept up to date by the words that change, so a merge costs what it changes. The heap is lazy:
   an entry whose count is no longer true goes back with the true one. Each entry knows the words in which its pair
   appeared when it was made. Counts have 64 bits.

   Memory: 4 bytes per byte of the different words, and as much again for the places of pairs. */

#include <stdlib.h>
#include <string.h>
#include "words.h"

typedef struct { int32_t *at; int64_t count, room; } List; /* of words */
typedef struct { uint64_t pair; int64_t count; List new_in; } Pair; /* new_in: words that got it by this merge */
typedef struct { int64_t count, made; uint64_t pair; List words; } Entry; /* made: at which merge */
typedef struct { int64_t start, bytes; } Spelling;

typedef struct {
    int32_t *ids;               /* of all words, side by side */
    int64_t *start, *length, *times, words;
    Pair *pairs;                /* by hash, (slots,) */
    int64_t pair_count, slots;
    Entry *heap;
    int64_t entries, room;
    uint64_t *touched;          /* pairs that became more frequent by this merge */
    int64_t touched_count, touched_room;
    uint8_t *text;              /* what tokens spell, side by side */
    Spelling *spelling;         /* (vocabulary,) */
    int32_t *known;             /* spelling -> id + 1, by hash, (known_slots,) */
    int64_t known_slots, text_used, text_room;
    int failed;                 /* there was no memory */
} Learner;

static void *larger(Learner *l, void *old, int64_t *room, size_t size) {
    const int64_t wanted = *room ? 2 * *room : 4;
    void *made = realloc(old, (size_t)wanted * size);
    if (made) *room = wanted;
    else l->failed = 1;
    return made ? made : old;
}

static uint64_t pair_of(int32_t a, int32_t b) { return (uint64_t)a << 32 | (uint32_t)b; }

static Pair *find(const Learner *l, uint64_t pair) {
    int64_t at = (int64_t)(mixed(pair + 1) & (uint64_t)(l->slots - 1));
    while (l->pairs[at].pair != pair && l->pairs[at].pair != UINT64_MAX) at = (at + 1) & (l->slots - 1);
    return &l->pairs[at];
}

static int make_table(Learner *l, int64_t slots) {
    Pair *old = l->pairs;
    const int64_t before = l->slots;
    if (!(l->pairs = malloc((size_t)slots * sizeof *l->pairs))) {
        l->pairs = old, l->failed = 1;
        return 1;
    }
    l->slots = slots;
    for (int64_t i = 0; i < slots; i++) l->pairs[i] = (Pair){UINT64_MAX, 0, {0}};
    for (int64_t i = 0; i < before; i++)
        if (old[i].pair != UINT64_MAX) *find(l, old[i].pair) = old[i];
    free(old);
    return 0;
}

/* A pair occurs `change` times more often in the word. */
static void changed(Learner *l, uint64_t pair, int64_t change, int32_t word) {
    Pair *found = find(l, pair);
    if (found->pair == UINT64_MAX) {
        if (2 * (l->pair_count + 1) > l->slots) {
            if (make_table(l, 2 * l->slots)) return;
            found = find(l, pair);
        }
        found->pair = pair, l->pair_count++;
    }
    found->count += change;
    if (change < 0) return;
    List *list = &found->new_in;
    if (list->count && list->at[list->count - 1] == word) return;
    if (!list->count) {
        if (l->touched_count == l->touched_room)
            l->touched = larger(l, l->touched, &l->touched_room, sizeof *l->touched);
        if (l->failed) return;
        l->touched[l->touched_count++] = pair;
    }
    if (list->count == list->room) list->at = larger(l, list->at, &list->room, sizeof *list->at);
    if (!l->failed) list->at[list->count++] = word;
}

static int before(const Entry *a, const Entry *b) { /* a leaves the heap first */
    if (a->count != b->count) return a->count > b->count;
    return a->pair != b->pair ? a->pair < b->pair : a->made < b->made;
}

static void push(Learner *l, Entry entry) {
    if (l->entries == l->room) l->heap = larger(l, l->heap, &l->room, sizeof *l->heap);
    if (l->failed) {
        free(entry.words.at);
        return;
    }
    int64_t at = l->entries++;
    for (int64_t up; at && before(&entry, &l->heap[up = (at - 1) / 2]); at = up) l->heap[at] = l->heap[up];
    l->heap[at] = entry;
}

static Entry pop(Learner *l) {
    const Entry top = l->heap[0], last = l->heap[--l->entries];
    int64_t at = 0;
    for (int64_t down; (down = 2 * at + 1) < l->entries; at = down) {
        if (down + 1 < l->entries && before(&l->heap[down + 1], &l->heap[down])) down++;
        if (!before(&l->heap[down], &last)) break;
        l->heap[at] = l->heap[down];
    }
    l->heap[at] = last;
    return top;
}

/* Pairs that became more frequent go on the heap, with the words where they are new. */
static void push_touched(Learner *l, int64_t merge) {
    for (int64_t i = 0; i < l->touched_count; i++) {
        Pair *pair = find(l, l->touched[i]);
        if (pair->count > 0) push(l, (Entry){pair->count, merge, pair->pair, pair->new_in});
        else free(pair->new_in.at);
        pair->new_in = (List){0};
    }
    l->touched_count = 0;
}

/* The id of a + b: a new one, or that of an older token with the same spelling. */
static int32_t id_of(Learner *l, int32_t a, int32_t b, int32_t fresh) {
    const Spelling left = l->spelling[a], right = l->spelling[b];
    const int64_t bytes = left.bytes + right.bytes;
    while (l->text_used + bytes > l->text_room && !l->failed) l->text = larger(l, l->text, &l->text_room, 1);
    if (l->failed) return fresh;
    uint8_t *text = l->text + l->text_used;
    memcpy(text, l->text + left.start, (size_t)left.bytes);
    memcpy(text + left.bytes, l->text + right.start, (size_t)right.bytes);
    int64_t at = (int64_t)(hash_of(text, bytes) & (uint64_t)(l->known_slots - 1));
    for (; l->known[at]; at = (at + 1) & (l->known_slots - 1)) {
        const Spelling other = l->spelling[l->known[at] - 1];
        if (other.bytes == bytes && !memcmp(l->text + other.start, text, (size_t)bytes)) return l->known[at] - 1;
    }
    l->known[at] = fresh + 1;
    l->spelling[fresh] = (Spelling){l->text_used, bytes};
    l->text_used += bytes;
    return fresh;
}

static void merge_in(Learner *l, int32_t word, int32_t a, int32_t b, int32_t made) {
    int32_t *ids = l->ids + l->start[word];
    const int64_t length = l->length[word], times = l->times[word];
    int64_t to = 0;
    for (int64_t i = 0; i < length; i++, to++) {
        if (i + 1 == length || ids[i] != a || ids[i + 1] != b) {
            ids[to] = ids[i];
            continue;
        }
        if (to) {
            changed(l, pair_of(ids[to - 1], a), -times, word);
            changed(l, pair_of(ids[to - 1], made), times, word);
        }
        if (i + 2 < length) {
            changed(l, pair_of(b, ids[i + 2]), -times, word);
            changed(l, pair_of(made, ids[i + 2]), times, word);
        }
        ids[to] = made;
        i++;
    }
    l->length[word] = to;
}

static void take_words(Learner *l, const Words *words, const int32_t *byte_ids) {
    int64_t bytes = 0, word = 0;
    if (words->count > INT32_MAX) { /* numbers of words have 32 bits */
        l->failed = 1;
        return;
    }
    for (int64_t i = 0; i < words->slots; i++) bytes += words->table[i] ? words->table[i]->bytes : 0;
    l->ids = malloc((size_t)(bytes + 1) * sizeof *l->ids);
    l->start = malloc((size_t)(words->count + 1) * sizeof *l->start);
    l->length = malloc((size_t)(words->count + 1) * sizeof *l->length);
    l->times = malloc((size_t)(words->count + 1) * sizeof *l->times);
    if (!l->ids || !l->start || !l->length || !l->times || make_table(l, 1 << 17)) {
        l->failed = 1;
        return;
    }
    bytes = 0;
    for (int64_t i = 0; i < words->slots; i++) {
        const Word *from = words->table[i];
        if (!from) continue;
        l->start[word] = bytes, l->length[word] = from->bytes, l->times[word] = from->times;
        for (int64_t k = 0; k < from->bytes; k++) l->ids[bytes + k] = byte_ids[from->text[k]];
        for (int64_t k = 0; k + 1 < from->bytes; k++)
            changed(l, pair_of(l->ids[bytes + k], l->ids[bytes + k + 1]), from->times, (int32_t)word);
        bytes += from->bytes, word++;
    }
    l->words = word;
}

static void spell_bytes(Learner *l, const int32_t *byte_ids, int64_t vocabulary) {
    l->spelling = calloc((size_t)vocabulary, sizeof *l->spelling);
    for (l->known_slots = 1024; l->known_slots < 2 * vocabulary;) l->known_slots *= 2;
    l->known = calloc((size_t)l->known_slots, sizeof *l->known);
    l->text = malloc((size_t)(l->text_room = 4096));
    if (!l->spelling || !l->known || !l->text) {
        l->failed = 1;
        return;
    }
    for (int i = 0; i < 256; i++, l->text_used++) {
        l->text[i] = (uint8_t)i;
        l->spelling[byte_ids[i]] = (Spelling){i, 1};
    }
}

static void release(Learner *l) {
    for (int64_t i = 0; i < l->entries; i++) free(l->heap[i].words.at);
    for (int64_t i = 0; i < l->slots; i++) free(l->pairs[i].new_in.at);
    void *all[] = {l->ids, l->start, l->length, l->times, l->pairs, l->heap, l->touched, l->text, l->spelling, l->known};
    for (size_t i = 0; i < sizeof all / sizeof *all; i++) free(all[i]);
}

/* byte_ids (256,): ids of single bytes, all below `first`; up to `vocabulary` entries are made. `merged` (room, 3) gets
   the pair and its token of each merge. -> how many merges; -1: there was no memory, -2: no room. */
int64_t tohum_merges(const Words *words, const int32_t *byte_ids, int64_t first, int64_t vocabulary, int32_t *merged,
                     int64_t room, const volatile int32_t *stop) {
    Learner l = {0};
    int64_t count = 0;
    int32_t fresh = (int32_t)first;
    spell_bytes(&l, byte_ids, vocabulary + 1);
    if (!l.failed) take_words(&l, words, byte_ids);
    if (!l.failed) push_touched(&l, 0);
    while (!l.failed && !*stop && l.entries && fresh < vocabulary) {
        Entry top = pop(&l);
        const int64_t now = find(&l, top.pair)->count;
        if (now != top.count) {
            top.count = now;
            push(&l, top);
            continue;
        }
        const int32_t a = (int32_t)(top.pair >> 32), b = (int32_t)(uint32_t)top.pair;
        if (now < 1 || count == room) {
            free(top.words.at);
            count = now < 1 ? count : -2;
            break;
        }
        const int32_t made = id_of(&l, a, b, fresh);
        fresh += made == fresh;
        memcpy(merged + 3 * count++, (int32_t[]){a, b, made}, 3 * sizeof(int32_t));
        for (int64_t i = 0; i < top.words.count && !l.failed; i++) merge_in(&l, top.words.at[i], a, b, made);
        free(top.words.at);
        push_touched(&l, count);
    }
    const int failed = l.failed;
    release(&l);
    return failed ? -1 : count;
}
