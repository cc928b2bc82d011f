"""Bytes: a matrix of floats -> one byte per number, and a factor for each row.

    weight (out, in) float  ->  bytes (out, in) int8, factors (out,)        weight[o, i] ~ factors[o] * bytes[o, i]

The factor of a row is its largest number / 127 (LLM.int8(), arXiv:2208.07339, vector-wise, weights alone). torch's
kernel for few vectors takes them in bfloat16, and factors too; so the factors are rounded to that first, and the bytes
are made for the rounded ones.

A pass over many vectors, a prompt or a batch to train on, computes more than it reads: there bytes are multiplied in
bfloat16, which holds them exactly, where the processor has its arithmetic (kernels/matmul.c); elsewhere the matrix is
written out for the product and again for its gradient, and never kept. A frozen base in this form needs a quarter of
the memory (QLoRA's idea, arXiv:2305.14314, with bytes in the place of its four bits).
"""

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from tohum.kernels.linear import narrow_linear, suits
from tohum.model.remade import made_again

FEW_ROWS = 16  # vectors in a pass, up to which reading costs more than computing
WHOLE = 16  # torch's kernel for them reads beyond rows that are not a multiple of it (torch 2.13 with AVX-512)
TOP = 127


def to_bytes(weight: Tensor, values: Tensor | None = None, factors: Tensor | None = None) -> tuple[Tensor, Tensor]:
    """(out, in) float -> (out, in) int8 and (out,) factors in bfloat16, into these two where they are given.

    Rows of zeros stay zero.
    """
    values = torch.empty(weight.shape, dtype=torch.int8, device=weight.device) if values is None else values
    factors = weight.new_empty(len(weight), dtype=torch.bfloat16) if factors is None else factors
    floats = weight.float()
    factors.copy_(torch.maximum(floats.amax(dim=1), -floats.amin(dim=1)) / TOP)
    divisors = torch.where(factors == 0, 1.0, factors.float())
    values.copy_((floats / divisors[:, None]).round_().clamp_(-TOP, TOP))
    return values, factors


def written_out(values: Tensor, factors: Tensor, dtype: torch.dtype = torch.float32) -> Tensor:
    """(out, in) and (out,) -> (out, in) in dtype."""
    return (values.float() * factors.float()[:, None]).to(dtype)


def product(x: Tensor, values: Tensor, factors: Tensor, bias: Tensor | None) -> Tensor:
    """x (…, in) -> (…, out); gradients pass to x, and the matrix written out is kept by nothing."""
    few = x.numel() <= FEW_ROWS * x.shape[-1] and x.shape[-1] % WHOLE == 0
    if x.device.type == "cpu" and few and not torch.is_grad_enabled():
        rows = x.reshape(-1, x.shape[-1])
        made = torch._weight_int8pack_mm(rows.to(torch.bfloat16), values, factors.to(torch.bfloat16)).to(x.dtype)
        return (made if bias is None else made + bias).view(*x.shape[:-1], -1)
    if suits(x, values):
        return narrow_linear(x, values, bias, factors)
    kind = x.device.type
    dtype = torch.get_autocast_dtype(kind) if torch.is_autocast_enabled(kind) else x.dtype
    weight = written_out(values, factors, dtype)
    with made_again(weight, lambda: written_out(values, factors, dtype)):
        return F.linear(x.to(dtype), weight, None if bias is None else bias.to(dtype))


class Int8Linear(nn.Module):
    """x (…, in) -> (…, out), with the bias of the layer that it replaces."""

    values: Tensor
    factors: Tensor

    def __init__(self, values: Tensor, factors: Tensor, bias: Tensor | None):
        super().__init__()
        self.register_buffer("values", values)
        self.register_buffer("factors", factors)
        self.register_buffer("bias", None if bias is None else bias.detach())

    @classmethod
    def of(cls, weight: Tensor, bias: Tensor | None) -> "Int8Linear":
        """The bytes of (out, in) floats."""
        return cls(*to_bytes(weight.detach()), bias)

    @property
    def size(self) -> tuple[int, int]:
        """(out, in)."""
        return self.values.shape[0], self.values.shape[1]

    @property
    def weight(self) -> Tensor:
        """(out, in) float32, written out."""
        return written_out(self.values, self.factors)

    def forward(self, x: Tensor) -> Tensor:
        """(…, in) -> (…, out)."""
        return product(x, self.values, self.factors, self.bias)
