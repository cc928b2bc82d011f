"""Rotary positions (RoPE, arXiv:2104.09864): queries, keys (B, T, heads, E) -> the same, turned by position.

Each pair of coordinates of a head is a point in a plane, turned by the angle position * frequency. The
product of a turned query and a turned key depends on the difference of their positions alone.

Which coordinates form a pair? There are two layouts, and weights trained in one are noise in the other:

    halves (used here and by Hugging Face):      neighbours (the paper, Meta's files, llama2.c):
    E = 8:   0  1  2  3 | 4  5  6  7             0  1 | 2  3 | 4  5 | 6  7
    pairs:   (0,4) (1,5) (2,6) (3,7)             (0,1) (2,3) (4,5) (6,7)

Reading a file of the second kind means moving rows of the query and key matrices; that belongs to the name
tables of `loading`, not here.
"""

import math
from typing import Any, Protocol

import torch
from torch import Tensor, nn

from tohum.kernels import training as kernels

Rotation = tuple[Tensor, Tensor]  # cosines and sines, (T, 1, E/2) or (B, T, 1, E/2)


class Stretch(Protocol):
    """Numbers of Llama 3's frequency scaling; `model.config.RopeScaling` has them."""

    @property
    def factor(self) -> float: ...
    @property
    def low_frequency_factor(self) -> float: ...
    @property
    def high_frequency_factor(self) -> float: ...
    @property
    def original_context(self) -> int: ...


def frequencies(head_width: int, base: float, stretch: Stretch | None = None, factor: float = 1.0) -> Tensor:
    """Radians per token of each pair: base^(-2i/E) for i = 0..E/2-1, float32 (E/2,).

    The first pair turns once in 2*pi tokens, the last once in nearly 2*pi*base tokens; with a `factor` all
    turn that much slower (arXiv:2306.15595, "position interpolation").
    """
    even = torch.arange(0, head_width, 2, dtype=torch.int64).float()  # (E/2,)
    plain = 1.0 / (base ** (even / head_width)) / factor
    return plain if stretch is None else stretched(plain, stretch)


def stretched(plain: Tensor, stretch: Stretch) -> Tensor:
    """Llama 3.1's frequencies for contexts longer than the trained one (arXiv:2407.21783, section 3.4.2).

    Counted in turns that a pair makes within the original context: pairs with more than
    `high_frequency_factor` turns tell near tokens apart and stay as they are; those with fewer than
    `low_frequency_factor` have never seen a full turn and are slowed by `factor`; between, a blend.
    """
    wavelength = 2 * math.pi / plain  # tokens per turn
    turns = stretch.original_context / wavelength
    low, high = stretch.low_frequency_factor, stretch.high_frequency_factor
    blend = ((turns - low) / (high - low)).clamp(0, 1)  # 0: slow down, 1: keep
    return (1 - blend) * plain / stretch.factor + blend * plain


class RotaryTable(nn.Module):
    """Cosines and sines of every position, computed once in float32 and sliced in each pass."""

    def __init__(self, head_width: int, context: int, base: float, stretch: Stretch | None = None,
                 factor: float = 1.0):
        super().__init__()
        places = torch.arange(context).float()
        angles = torch.outer(places, frequencies(head_width, base, stretch, factor))  # (context, E/2)
        self.register_buffer("cosines", angles.cos(), persistent=False)
        self.register_buffer("sines", angles.sin(), persistent=False)

    def forward(self, tokens: int, positions: Tensor | None) -> Rotation:
        """Rotation of positions 0..tokens-1 (T, 1, E/2), or of positions (B, T) -> (B, T, 1, E/2)."""
        if positions is None:
            return self.cosines[:tokens, None], self.sines[:tokens, None]
        return self.cosines[positions][:, :, None], self.sines[positions][:, :, None]


class Rotate(nn.Module):
    """Turn every pair of x (B, T, heads, E) by its position's angles."""

    def forward(self, x: Tensor, rotation: Rotation) -> Tensor:
        cosines, sines = rotation
        return Turned.apply(x, cosines, sines) if torch.is_grad_enabled() else turn(x, cosines, sines, back=False)


class Turned(torch.autograd.Function):
    """The rotation; its gradient is the rotation back, which needs nothing of x.

    On a CPU in eager mode this takes a third of the time of the same formula left to autograd.
    """

    @staticmethod
    def forward(ctx: Any, x: Tensor, cosines: Tensor, sines: Tensor) -> Tensor:
        """x (B, T, heads, E), cosines and sines (T or B x T, 1, E/2) -> like x."""
        ctx.save_for_backward(cosines, sines)
        return turn(x, cosines, sines, back=False)

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> tuple[Tensor, None, None]:
        """Turn the gradient by the negative angle."""
        cosines, sines = ctx.saved_tensors
        return turn(gradients[0], cosines, sines, back=True), None, None


def turn(x: Tensor, cosines: Tensor, sines: Tensor, *, back: bool) -> Tensor:
    """Multiply every pair by its matrix; `back` turns by the negative angle:

        | cos  -sin |   | first  |
        | sin   cos | * | second |
    """
    if kernels.fits(x, cosines.shape[-1]):
        return kernels.turn(x, cosines, sines, back=back)
    cosines, sines = cosines.to(x.dtype), (-sines if back else sines).to(x.dtype)
    first, second = x.chunk(2, dim=-1)  # each (B, T, heads, E/2)
    turned = x * torch.cat((cosines, cosines), dim=-1)
    half = first.shape[-1]
    turned[..., :half].addcmul_(second, sines, value=-1)
    turned[..., half:].addcmul_(first, sines)
    return turned


class NoRotation(nn.Module):
    """x -> x, for layers without rotary positions (NoPE, arXiv:2305.19466)."""

    def forward(self, x: Tensor, rotation: Rotation | None) -> Tensor:
        return x
