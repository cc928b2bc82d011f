"""Memory of a process that trains: glibc keeps what it has, and tensors have a place of their own (arena.cpp)."""

from tohum.kernels.build import library
from tohum.machine import limit_caches, tune_allocator

WORK = "tensor memory"


def tune_memory() -> bool:
    """Once, before the first large tensor; later ones gain, too. False where one of the two cannot be had."""
    limit_caches()
    found = library(WORK)
    apart = found is not None and found.tohum_tensor_memory() == 0
    return tune_allocator(with_tensors=not apart) and apart
