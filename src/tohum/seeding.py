"""Named randomness: (seed, purpose, numbers) -> a generator; nothing depends on what was drawn before.

Training reseeds torch's own generator (dropout) from (seed, step) before every step, so no generator state needs
saving: a resumed run draws what the unbroken run drew, and evaluation or sampling in between changes nothing.
"""

import contextlib
import hashlib
import os
import sys
from collections.abc import Iterator
from typing import Any

import torch

DEFAULT_SEED = 1337


def derive(seed: int, purpose: str, *numbers: int) -> int:
    """A 63-bit seed that differs for every purpose and every number."""
    text = ":".join([str(seed), purpose, *map(str, numbers)])
    return int.from_bytes(hashlib.blake2b(text.encode(), digest_size=8).digest(), "little") >> 1


def generator(seed: int, purpose: str, *numbers: int, device: str = "cpu") -> torch.Generator:
    """A fresh generator for one purpose."""
    return torch.Generator(device=device).manual_seed(derive(seed, purpose, *numbers))


def seed_step(seed: int, step: int, rank: int) -> None:
    """Make everything drawn from torch's global generators in this step a function of (seed, step, rank)."""
    number = derive(seed, "step", step, rank)
    torch.default_generator.manual_seed(number)  # torch.manual_seed keeps a stack trace for each GPU that is not there
    if torch.cuda.is_initialized():
        torch.cuda.manual_seed_all(number)
    if torch.backends.mps.is_available():
        torch.mps.manual_seed(number)


@contextlib.contextmanager
def undisturbed() -> Iterator[None]:
    """Whatever is drawn inside leaves torch's global generators as they were."""
    with torch.random.fork_rng(devices=range(torch.cuda.device_count())):
        yield


@contextlib.contextmanager
def deterministic() -> Iterator[None]:
    """Inside, torch adds in a fixed order: compiled kernels would else add rows of gradients as threads come by.

    An operation that has no deterministic kernel on the device in use (some of CUDA's) warns and goes on.
    """
    settings: Any = torch.utils.deterministic  # a module that makes its attributes at run time
    before = (torch.are_deterministic_algorithms_enabled(), torch.is_deterministic_algorithms_warn_only_enabled(),
              settings.fill_uninitialized_memory)
    os.environ.setdefault("CUBLAS_WORKSPACE_CONFIG", ":4096:8")  # what cuBLAS asks for, read when it starts
    choose_algorithms(deterministic=True, warn_only=True)
    settings.fill_uninitialized_memory = False  # a debugging help that costs a pass over memory
    try:
        yield
    finally:
        choose_algorithms(deterministic=before[0], warn_only=before[1])
        settings.fill_uninitialized_memory = before[2]


def choose_algorithms(*, deterministic: bool, warn_only: bool) -> None:
    """torch.use_deterministic_algorithms, which would load the compiler to tell it, too: two seconds, so only where
    something has been compiled (torch.compile loads it)."""
    if "torch._inductor.config" in sys.modules:
        torch.use_deterministic_algorithms(deterministic, warn_only=warn_only)
    else:
        torch.set_deterministic_debug_mode(("warn" if warn_only else "error") if deterministic else "default")
