"""Dropout (arXiv:1207.0580): numbers -> a share of them 0, the others larger by as much. In training only.

On a CPU torch draws one random number after another on one thread: with dropout on the stream of a small model three
tenths of a training step. Here a number's place decides, hashed with a key that is drawn for the call:

    place -> * golden + key -> mixed -> ^ key -> mixed -> 31 bits -> below rate * 2^31: dropped

so threads and vectors share the work, the result does not depend on how many there are, and the backward pass finds
out again what was dropped: nothing is kept for it but the key. The mixing is that of `lowbias32` (Chris Wellons,
"Prospecting for Hash Functions", 2018).
"""

from typing import Any, cast

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from tohum.kernels import training as kernels

GOLDEN, FIRST, SECOND = -0x61C88647, 0x7FEB352D, -0x7B935975  # odd; as 32-bit numbers with a sign


class Dropout(nn.Module):
    """Numbers of any shape; `rate` is the share of them that training drops."""

    def __init__(self, rate: float):
        super().__init__()
        self.rate = rate

    def forward(self, x: Tensor) -> Tensor:
        return dropped(x, self.rate) if self.training else x

    def extra_repr(self) -> str:
        return f"{self.rate:g}"


def dropped(x: Tensor, rate: float) -> Tensor:
    """x of any shape -> 0 with probability `rate`, else x / (1 - rate). Draws from torch's generator of the device."""
    if x.device.type != "cpu":
        return F.dropout(x, rate)
    key = torch.randint(-2**31, 2**31, (2,), dtype=torch.int32)
    return cast("Tensor", CpuDropout.apply(x, key, rate))


class CpuDropout(torch.autograd.Function):
    """The gradient is dropped where x was."""

    @staticmethod
    def forward(ctx: Any, x: Tensor, key: Tensor, rate: float) -> Tensor:
        """x of any shape, key (2,) int32."""
        ctx.save_for_backward(key)
        ctx.rate = rate
        return drop(x, key, rate)

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> tuple[Tensor, None, None]:
        """The gradient of x."""
        (key,) = ctx.saved_tensors
        return CpuDropout.apply(gradients[0], key, ctx.rate), None, None


def drop(x: Tensor, key: Tensor, rate: float) -> Tensor:
    """The same numbers with and without compiled kernels."""
    least, scale = min(round(rate * 2**31), 2**31 - 1), 1 / (1 - rate)
    if x.dim() and kernels.fits(x, x.shape[-1]):
        return kernels.drop(x, key, least, scale)
    return torch.where(draws(key, x.numel()).view(x.shape) >= least, x * scale, 0.0)


def draws(key: Tensor, count: int) -> Tensor:
    """key (2,) int32 -> (count,) int32 from 0 to 2^31 - 1: the hash of the places 0 .. count - 1."""
    bits = torch.arange(count, dtype=torch.int32) * GOLDEN + key[0]
    bits = (bits ^ (bits >> 16 & 0xFFFF)) * FIRST  # the mask: numbers with a sign are shifted with it
    bits = (bits ^ (bits >> 15 & 0x1FFFF) ^ key[1]) * SECOND
    return (bits ^ (bits >> 16 & 0xFFFF)) & 0x7FFFFFFF
