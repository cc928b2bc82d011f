"""A linear layer with LoRA beside it: x (…, in) -> x W^T + b + scale * (x A^T) B^T, (…, out).

    x ----+---- W (out, in), frozen -------------------+--> y        A starts random, B at zero: at first y is
          |                                            |             what it was
          +---- A (rank, in) ---- B (out, rank) -- scale

DoRA (arXiv:2402.09353) keeps the length of every row of W + scale B A in a trained vector m of its own:

    y = m * (x V^T) / |V| + b,  V = W + scale B A,  |V| (out,) the lengths of V's rows, taken as constants

The layer owns `weight` and `bias` under the names they had, so files of the base model fit before and after.
"""

from typing import Any, cast

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.autograd.function import once_differentiable

from tohum.dropout import dropped
from tohum.kernels.linear import linear
from tohum.model.int8 import Int8Linear, product, written_out


class LoraLinear(nn.Module):
    """A frozen linear layer and one adapter. Without an adapter, or with `enabled` off, it is the linear layer."""

    lora_a: nn.Parameter | None  # (rank, in)
    lora_b: nn.Parameter | None  # (out, rank)
    lora_m: nn.Parameter | None  # (out,): DoRA's lengths

    def __init__(self, linear: nn.Linear | Int8Linear):
        super().__init__()
        self._linear = (linear,)  # in a tuple, so that it is no module of this one
        self.take(linear)
        self.scale, self.dropout, self.enabled = 1.0, 0.0, True
        for name in ("lora_a", "lora_b", "lora_m"):
            self.register_parameter(name, None)

    def take(self, linear: nn.Linear | Int8Linear) -> None:
        """Own what the frozen layer owned."""
        self.weight, self.bias = linear.weight, linear.bias

    def frozen(self, x: Tensor, bias: Tensor | None) -> Tensor:
        """(…, in) -> (…, out) through the frozen weight alone."""
        return linear(x, self.weight, bias)

    def put(self, a: Tensor, b: Tensor, m: Tensor | None, *, scale: float, dropout: float = 0.0) -> None:
        """Take an adapter in the place of the one before."""
        self.lora_a, self.lora_b = nn.Parameter(a), nn.Parameter(b)
        self.lora_m = None if m is None else nn.Parameter(m)
        self.scale, self.dropout = scale, dropout

    def remove(self) -> None:
        """Be the linear layer again."""
        self.lora_a = self.lora_b = self.lora_m = None

    def plain(self) -> nn.Module:
        """The linear layer that this one took the place of, with the weight and the mode that this one has now."""
        (linear,) = self._linear
        if isinstance(linear, nn.Linear):  # bytes stay what they were
            linear.weight = self.weight
            linear.bias = self.bias  # pyrefly: ignore[bad-assignment]
        return linear.train(self.training)

    def forward(self, x: Tensor) -> Tensor:
        """(…, in) -> (…, out)."""
        if self.lora_a is None or self.lora_b is None or not self.enabled:
            return self.frozen(x, self.bias)
        seen = dropped(x, self.dropout) if self.dropout and self.training else x
        if self.lora_m is None:
            rows = self.frozen(x.flatten(0, -2), self.bias)  # (N, out), no view: it is changed in place
            return with_product(rows, seen.flatten(0, -2), self.lora_a, self.lora_b, self.scale).unflatten(
                0, x.shape[:-1])
        y = self.frozen(x, self.bias)
        ratio = self.lora_m / row_lengths(self.weight, self.lora_a, self.lora_b, self.scale)  # (out,)
        frozen = self.frozen(seen, None)  # of the same dropped x that A reads
        update = F.linear(F.linear(seen, self.lora_a), self.lora_b) * self.scale
        return y + (ratio - 1) * frozen + ratio * update

    @property
    def size(self) -> tuple[int, int]:
        """(out, in)."""
        return self.weight.shape[0], self.weight.shape[1]

    def merged(self) -> Tensor:
        """(out, in) float32 (float64 where the weight is): the weight that does the same without an adapter."""
        weight = self.weight.detach().to(torch.promote_types(self.weight.dtype, torch.float32))
        if self.lora_a is None or self.lora_b is None:
            return weight
        merged = weight + self.scale * (self.lora_b.detach().to(weight) @ self.lora_a.detach().to(weight))
        if self.lora_m is None:
            return merged
        lengths = row_lengths(weight, self.lora_a.to(weight), self.lora_b.to(weight), self.scale)
        return merged * (self.lora_m.detach().to(weight) / lengths)[:, None]


class LoraOverBytes(LoraLinear):
    """The same over a base of one byte per number (model/int8.py), which is never kept written out."""

    values: Tensor
    factors: Tensor

    def take(self, linear: nn.Linear | Int8Linear) -> None:
        """Own the bytes."""
        for name, value in linear.named_buffers():
            self.register_buffer(name, value)
        if "bias" not in self._buffers:
            self.register_buffer("bias", None)

    @property
    def weight(self) -> Tensor:  # pyrefly: ignore[bad-override]
        """(out, in) float32, written out: for what looks at it once."""
        return written_out(self.values, self.factors)

    @property
    def size(self) -> tuple[int, int]:
        """(out, in)."""
        return self.values.shape[0], self.values.shape[1]

    def frozen(self, x: Tensor, bias: Tensor | None) -> Tensor:
        """(…, in) -> (…, out)."""
        return product(x, self.values, self.factors, bias)


def with_product(y: Tensor, x: Tensor, a: Tensor, b: Tensor, scale: float) -> Tensor:
    """y (N, out) + scale * (x a^T) b^T for x (N, in), made in y, which nobody else has."""
    if torch.compiler.is_compiling():  # the compiler decides what is done in place
        return y + F.linear(F.linear(x, a), b) * scale
    return cast("Tensor", ProductAdded.apply(y, x, a, b, scale))


class ProductAdded(torch.autograd.Function):
    """y (N, out), x (N, in), a (rank, in), b (out, rank) -> y + scale * (x a^T) b^T, in y.

    A sum in a tensor of its own would leave a gap in memory where y was, between tensors that are kept, and not every
    gap is filled again; and torch, left to itself, copies the gradient of what is changed in place.
    """

    @staticmethod
    def forward(ctx: Any, y: Tensor, x: Tensor, a: Tensor, b: Tensor, scale: float) -> Tensor:
        ctx.for_x, ctx.scale, seen = x.dtype, scale, x.to(y.dtype)
        low = seen @ a.to(y.dtype).T  # (N, rank); autocast has nothing to do with operations in place
        y.addmm_(low, b.to(y.dtype).T, alpha=scale)
        ctx.save_for_backward(seen, a, b, low)  # a and b as they are: copies would be there until backward
        ctx.mark_dirty(y)
        return y

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, dy: Tensor) -> tuple[Tensor | None, ...]:  # pyrefly: ignore[bad-override]
        x, a, b, low = ctx.saved_tensors
        d_low = (dy @ b.to(x.dtype)).mul_(ctx.scale)  # (N, rank)
        d_x = (d_low @ a.to(x.dtype)).to(ctx.for_x) if ctx.needs_input_grad[1] else None
        return dy, d_x, (d_low.T @ x).to(a.dtype), (dy.T @ low).mul_(ctx.scale).to(b.dtype), None


def row_lengths(weight: Tensor, a: Tensor, b: Tensor, scale: float) -> Tensor:
    """(out,): lengths of the rows of W + scale B A; no gradient passes (DoRA, section 4.3)."""
    with torch.no_grad():
        return torch.linalg.norm(weight + scale * (b @ a).to(weight.dtype), dim=1)
