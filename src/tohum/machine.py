"""What this machine offers and how the process uses it: number formats, allocator, threads, peak memory.

torch is imported where it is asked: commands that do without it start in a tenth of the time.
"""

import ctypes
import functools
import os
import resource
import sys
import threading
import time
from pathlib import Path
from typing import TYPE_CHECKING

import psutil

if TYPE_CHECKING:
    import torch

MEBIBYTE = 2**20
M_TRIM_THRESHOLD, M_TOP_PAD, M_MMAP_THRESHOLD, M_MMAP_MAX = -1, -2, -3, -4  # numbers of mallopt(3) parameters
LARGE_BYTES = 2**25  # the most that glibc takes for M_MMAP_THRESHOLD
CACHES = ("ONEDNN_PRIMITIVE_CACHE_CAPACITY", "LRU_CACHE_CAPACITY")  # oneDNN's, and that of its C++ interface
REMEMBERED_PRODUCTS = "128"  # more than a step of one shape has, but for windows of thousands of tokens


def tune_allocator(*, with_tensors: bool = True) -> bool:
    """Tell glibc to keep freed buffers instead of giving them back and faulting them in again each step.

    Worth a fifth to a half of the training speed on a CPU (docs/06-pretraining.md). Where it has no tensors, the
    largest buffers are those of files that are read once: they are given back. False where there is no glibc.
    """
    if not sys.platform.startswith("linux"):
        return False
    try:
        mallopt = ctypes.CDLL("libc.so.6").mallopt
    except (OSError, AttributeError):
        return False
    large = (M_MMAP_MAX, 0) if with_tensors else (M_MMAP_THRESHOLD, LARGE_BYTES)
    settings = (large, (M_TRIM_THRESHOLD, 2**31 - 1), (M_TOP_PAD, 64 * MEBIBYTE))
    return [mallopt(name, value) for name, value in settings] == [1, 1, 1]


def limit_caches() -> None:
    """Have oneDNN remember 128 products in place of 1,024, before its first one; what a user has set stays.

    Each shape of a product is another one. Batches of texts have new shapes in every step, and a thousand of them take
    a gigabyte.
    """
    for name in CACHES:
        os.environ.setdefault(name, REMEMBERED_PRODUCTS)


def tune_products() -> bool:
    """Leave float32 products to oneDNN where MKL makes them at half the speed: on others' processors with AVX-512.

    The switch says that bfloat16 would do. Without AMX oneDNN has no such products and multiplies float32 as it is; a
    GPU would take it at its word. False where nothing is gained.
    """
    flags = cpu_flags()
    if "avx512f" not in flags or "amx_bf16" in flags or cpu_vendor() == "GenuineIntel":
        return False
    import torch

    if torch.cuda.is_available():
        return False
    torch.set_float32_matmul_precision("medium")
    return True


@functools.cache
def cpuinfo() -> dict[str, str]:
    """The first processor's entries of /proc/cpuinfo; empty where there is none."""
    path = Path("/proc/cpuinfo")
    if not path.is_file():
        return {}
    first = path.read_text("utf-8", errors="replace").split("\n\n")[0]
    pairs = (line.partition(":") for line in first.splitlines())
    return {key.strip(): value.strip() for key, _, value in pairs}


def cpu_vendor() -> str:
    """GenuineIntel, AuthenticAMD, …; empty where Linux does not say."""
    return cpuinfo().get("vendor_id", "")


@functools.cache
def cpu_flags() -> frozenset[str]:
    """Instruction sets of the processor, as Linux names them; empty elsewhere."""
    return frozenset((cpuinfo().get("flags") or cpuinfo().get("Features") or "").split())


def has_bf16_arithmetic() -> bool:
    """True where a CPU multiplies bf16 in hardware (AVX512-BF16 or AMX); from its flags alone."""
    return not cpu_flags().isdisjoint({"avx512_bf16", "amx_bf16"})


def cores() -> int:
    """CPU cores that this process may use; OMP_NUM_THREADS, which torch obeys too, can lower their number."""
    count = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    wanted = os.environ.get("OMP_NUM_THREADS", "")
    return min(count, int(wanted)) if wanted.isdigit() and int(wanted) else count


def process_seconds() -> float:
    """Seconds since this process started: a budget counts from there, imports included."""
    try:
        ticks = int(Path("/proc/self/stat").read_text("utf-8", "replace").rpartition(")")[2].split()[19])
    except (OSError, ValueError, IndexError):  # not Linux; there psutil knows the second
        return time.time() - psutil.Process().create_time()
    return time.clock_gettime(time.CLOCK_BOOTTIME) - ticks / os.sysconf("SC_CLK_TCK")


def resident_bytes() -> int:
    """Memory of this process now."""
    return psutil.Process().memory_info().rss


def free_bytes(device: str) -> int:
    """Memory that this process could have in all, what it holds already included."""
    if device == "cuda":
        import torch

        return torch.cuda.mem_get_info()[0] + torch.cuda.memory_reserved()
    return psutil.virtual_memory().available + resident_bytes()


def peak_memory_bytes(device: "torch.device | None" = None) -> int:
    """Highest memory of this process so far; on a GPU the highest memory reserved there."""
    if device is not None and device.type == "cuda":
        import torch

        return torch.cuda.max_memory_reserved(device)
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return peak if sys.platform == "darwin" else peak * 1024


def pick_device(name: str) -> "torch.device":
    """`auto` takes CUDA, then Apple's MPS, then the CPU."""
    import torch

    if name != "auto":
        return torch.device(name)
    if torch.cuda.is_available():
        return torch.device("cuda")
    return torch.device("mps" if torch.backends.mps.is_available() else "cpu")


def compile_problem() -> str | None:
    """Why torch.compile cannot be used here (no C++ compiler, say); None where it works."""
    import torch

    try:
        compiled = torch.compile(lambda x: torch.sin(x) + 1)
        compiled(torch.zeros(8))
    except Exception as error:  # whatever the compiler stack raises means the same: do without it
        first_line = (str(error).strip() or "no message").splitlines()[0]
        return f"{type(error).__name__}: {first_line[:160]}"
    return None


class Watchdog:
    """Samples resident memory in the background, for peaks of a part of a run (ru_maxrss knows only the whole)."""

    def __init__(self, every_seconds: float = 0.02):
        self.peak_bytes = resident_bytes()
        self._every, self._stop = every_seconds, threading.Event()
        self._thread = threading.Thread(target=self._watch, daemon=True)

    def __enter__(self) -> "Watchdog":
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._stop.set()
        self._thread.join()

    def _watch(self) -> None:
        while not self._stop.wait(self._every):
            self.peak_bytes = max(self.peak_bytes, resident_bytes())
