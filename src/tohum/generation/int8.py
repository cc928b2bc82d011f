"""Bytes for decoding: a network whose matrices are float -> the same network with a byte per number.

One new token reads every matrix once and computes little with it, so decoding is as fast as memory is: with a quarter
of the bytes it goes up to four times as fast. Each row of a matrix has a factor of its own, its largest number / 127:

    weight (out, in) float  ->  bytes (out, in) int8, factors (out,)        weight[o, i] ~ factors[o] * bytes[o, i]

(LLM.int8(), arXiv:2208.07339, vector-wise, weights alone.) Decoding multiplies bytes with float32 vectors (fast.py).
Where that is not to be had, torch's kernel does it, which takes vectors in bfloat16; the factors are rounded to that
first, and the bytes are made for the rounded ones. Passes over many tokens, a prompt say, compute more than they read;
there the matrix is written out for the pass.
"""

import torch
from torch import Tensor, nn

from tohum.model.network import Network

FEW_ROWS = 16  # vectors in a pass, up to which reading costs more than computing
TOP = 127


def to_bytes(weight: Tensor) -> tuple[Tensor, Tensor]:
    """(out, in) float -> (out, in) int8 and (out,) factors in bfloat16. Rows of zeros stay zero."""
    weight = weight.float()
    factors = (weight.abs().amax(dim=1) / TOP).to(torch.bfloat16)
    divisors = torch.where(factors == 0, 1.0, factors.float())
    return (weight / divisors[:, None]).round().clamp(-TOP, TOP).to(torch.int8), factors


class Int8Linear(nn.Module):
    """x (…, in) -> (…, out), with the bias of the layer that it replaces."""

    values: Tensor
    factors: Tensor

    def __init__(self, weight: Tensor, bias: Tensor | None):
        super().__init__()
        values, factors = to_bytes(weight.detach())
        self.register_buffer("values", values)
        self.register_buffer("factors", factors)
        self.register_buffer("bias", None if bias is None else bias.detach())

    @property
    def weight(self) -> Tensor:
        """(out, in) float32, written out."""
        return self.values.float() * self.factors.float()[:, None]

    def forward(self, x: Tensor) -> Tensor:
        rows = x.reshape(-1, x.shape[-1])
        if len(rows) > FEW_ROWS or x.device.type != "cpu":
            bias = None if self.bias is None else self.bias.to(x.dtype)
            return nn.functional.linear(x, self.weight.to(x.dtype), bias)
        product = torch._weight_int8pack_mm(rows.to(torch.bfloat16), self.values, self.factors).to(x.dtype)
        product = product if self.bias is None else product + self.bias
        return product.view(*x.shape[:-1], -1)


def decode_in_bytes(network: Network) -> Network:
    """Replace the matrices of the blocks, and give the network a head of bytes; in place, for generation alone.

    A tied token table stays float beside its copy in bytes: looking up a token reads one row of it.
    """
    for name, module in list(network.blocks.named_modules()):
        if isinstance(module, nn.Linear):
            parent, _, child = name.rpartition(".")
            setattr(network.blocks.get_submodule(parent), child, Int8Linear(module.weight, module.bias))
    network.decoding_head = Int8Linear(network.head_weight, None)
    if network.head is not None:
        network.head = network.decoding_head
    return network
