"""Named randomness: (seed, purpose, numbers) -> a generator; nothing depends on what was drawn before.

Training reseeds torch's own generator (dropout) from (seed, step) before every step, so no generator state needs
saving: a resumed run draws what the unbroken run drew, and evaluation or sampling in between changes nothing.
"""

import contextlib
import hashlib
from collections.abc import Iterator

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
    torch.manual_seed(derive(seed, "step", step, rank))


@contextlib.contextmanager
def undisturbed() -> Iterator[None]:
    """Whatever is drawn inside leaves torch's global generators as they were."""
    with torch.random.fork_rng(devices=range(torch.cuda.device_count())):
        yield
