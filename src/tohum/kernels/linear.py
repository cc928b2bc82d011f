"""The linear layer, as torch.nn.Linear has it; in bfloat16 on a CPU that multiplies it, by matmul.c.

Under autocast torch makes a copy of every float32 weight, one of every input for each layer that reads it, and a
gradient in bfloat16 that is copied to float32. Here weights are read as they are and their gradients made in float32:

    y = x W^T + b        bfloat16       from x in bfloat16, W in float32
    dx = dy W            format of x    dW = dy^T x, db = sum of dy      float32
"""

from typing import Any, cast

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.autograd.function import once_differentiable

from tohum.kernels.matmul import fits, matmul

FEW_ROWS = 16  # vectors, for which torch's kernels take less time than laying a matrix out


class Linear(nn.Linear):
    """x (…, in) -> (…, out)."""

    def forward(self, input: Tensor) -> Tensor:  # torch's name for x
        """Bfloat16 under autocast to it, and where x and weight are; else as torch."""
        return linear(input, self.weight, self.bias)


def linear(x: Tensor, weight: Tensor, bias: Tensor | None) -> Tensor:
    """x (…, in), weight (out, in), bias (out,) or None -> (…, out)."""
    return narrow_linear(x, weight, bias) if suits(x, weight) else F.linear(x, weight, bias)


def suits(x: Tensor, weight: Tensor) -> bool:
    """Whether the product of x (…, in) and a weight is to be made in bfloat16, and can be made here."""
    autocast = torch.is_autocast_enabled("cpu")
    dtype = torch.get_autocast_dtype("cpu") if autocast else x.dtype
    if not autocast and weight.dtype not in (x.dtype, torch.int8):
        return False  # torch says what is wrong
    return dtype is torch.bfloat16 and x.numel() > FEW_ROWS * x.shape[-1] and fits(x, weight)


def narrow_linear(x: Tensor, weight: Tensor, bias: Tensor | None, factors: Tensor | None = None) -> Tensor:
    """x (…, in), weight (out, in) -> (…, out) in bfloat16; factors (out,) of a weight in bytes, which stays."""
    if torch.is_grad_enabled():
        return cast("Tensor", NarrowLinear.apply(x, weight, bias, factors))
    return narrow_product(x, weight, bias, factors, torch.bfloat16)


def narrow_product(x: Tensor, weight: Tensor, bias: Tensor | None, factors: Tensor | None,
                   dtype: torch.dtype) -> Tensor:
    """The same without gradients, rounded to `dtype`."""
    rows = x.reshape(-1, x.shape[-1])
    made = rows.new_empty(len(rows), len(weight), dtype=dtype)
    bias, factors = (None if part is None else part.float() for part in (bias, factors))
    matmul(rows, weight.T, made, bias=bias, factors=factors)
    return made if x.ndim == 2 else made.view(*x.shape[:-1], -1)  # no view where none is needed: LoRA adds to it


class NarrowLinear(torch.autograd.Function):
    """`narrow_product` with its gradients."""

    @staticmethod
    def forward(ctx: Any, x: Tensor, weight: Tensor, bias: Tensor | None, factors: Tensor | None) -> Tensor:
        """Keeps x in bfloat16 where the weight is trained, and the weight."""
        seen = x.to(torch.bfloat16)
        ctx.save_for_backward(seen if ctx.needs_input_grad[1] else None, weight, factors)
        ctx.format, ctx.bias_format = x.dtype, None if bias is None else bias.dtype
        return narrow_product(seen, weight, bias, factors, torch.bfloat16)

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, *gradients: Tensor) -> tuple[Tensor | None, ...]:  # pyrefly: ignore[bad-override]
        """Gradients of x, weight and bias."""
        x, weight, factors = ctx.saved_tensors
        shape = gradients[0].shape
        rows = gradients[0].reshape(-1, shape[-1])
        dx = dweight = dbias = None
        if ctx.needs_input_grad[0]:
            dx = rows.new_empty(len(rows), weight.shape[1], dtype=ctx.format)
            scaled = rows if factors is None else rows * factors.to(rows.dtype)
            dx = matmul(scaled, weight, dx).view(*shape[:-1], -1)
        if ctx.needs_input_grad[1]:
            dweight = weight.new_empty(weight.shape, dtype=torch.float32)
            dweight = matmul(rows.T, x.reshape(-1, x.shape[-1]), dweight).to(weight.dtype)
        if ctx.needs_input_grad[2]:
            sums = rows.new_empty(1, shape[-1], dtype=torch.float32)
            dbias = matmul(rows.new_ones(1, len(rows)), rows, sums)[0].to(ctx.bias_format)
        return dx, dweight, dbias, None
