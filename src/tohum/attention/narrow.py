"""Attention in bfloat16 on a CPU that multiplies it -> context vectors, by kernels/attention.c.

torch's fused CPU kernel does not use the processor's bfloat16 instructions well. Here twelve queries of a head meet all
keys up to their own, and nothing of the (T, T) weights reaches memory, forward or backward:

    keys             0 ......... T
    queries 0-11     [##]                   #  product computed and read
    queries 12-23    [####]                 whole strips of 32 keys; the rest of the square is never computed
    queries 24-35    [######]
"""

from typing import Any

from torch import Tensor
from torch.autograd.function import Function, once_differentiable

from tohum.attention.masks import Mask
from tohum.kernels import attention as kernels


def suits(query: Tensor, key: Tensor, value: Tensor, mask: Mask, dropout: float) -> bool:
    """Whether this way is the faster one, and there is one: decided by device, dtype and the kind of mask."""
    return mask.causal and dropout == 0 and kernels.fits(query, key, value)


class NarrowAttention(Function):
    """softmax(scale * Q K^T masked) V for query (B, H, T, E), key and value (B, G, T, E), and a causal mask."""

    @staticmethod
    def forward(ctx: Any, query: Tensor, key: Tensor, value: Tensor, visible: Tensor | None,
                scale: float) -> Tensor:
        """-> context (B, H, T, E). `visible` (B or 1, 1, T, T) narrows the causal mask further."""
        context, log_sums = kernels.attention(query, key, value, visible, scale)
        ctx.save_for_backward(query, key, value, visible, log_sums)
        ctx.scale = scale
        return context

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, *gradients: Tensor) -> tuple[Tensor | None, ...]:  # pyrefly: ignore[bad-override]
        """Weights are made again from their logarithms."""
        query, key, value, visible, log_sums = ctx.saved_tensors
        made = kernels.attention_backward(gradients[0], query, key, value, visible, log_sums, ctx.scale)
        return *made, None, None
