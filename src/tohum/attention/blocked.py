"""Blocked attention: bfloat16 queries, keys, values on a CPU -> context vectors, by whole matrix products.

torch's fused CPU kernel does not use the processor's bfloat16 instructions well: forward plus backward take
two to three times as long as the products done one block of queries at a time (measured on AVX-512 with
bf16; in float32 the fused kernel is as fast, and is used). A block reads only the keys up to its own end:

    keys        0 ......... T
    block 0     [##.]                 #  product computed and read
    block 1     [#####.]              .  computed, but masked: later keys inside the block
    block 2     [########.]           the rest of the square is never computed
"""

from typing import Any

import torch
from torch import Tensor

from tohum.attention.masks import Mask
from tohum.kernels import training as kernels

BLOCK_TOKENS = 128


def suits(query: Tensor, mask: Mask, dropout: float) -> bool:
    """Whether this way is the faster one: decided by device, dtype and the kind of mask."""
    return query.device.type == "cpu" and query.dtype == torch.bfloat16 and mask.causal and dropout == 0


class BlockedAttention(torch.autograd.Function):
    """softmax(scale * Q K^T masked) V for query (B, H, T, E), key and value (B, G, T, E), and a causal mask.

    The H / G query heads that read one key head stand below each other in one matrix: nothing is repeated.
    """

    @staticmethod
    def forward(ctx: Any, query: Tensor, key: Tensor, value: Tensor, visible: Tensor | None,
                scale: float) -> Tensor:
        """-> context (B, H, T, E). `visible` (B or 1, 1, T, T) narrows the causal mask further."""
        with torch.autocast("cpu", enabled=False):
            query, key, value = (query * scale).contiguous(), key.contiguous(), value.contiguous()
            context = torch.empty_like(query)
            for start, end in blocks(query.shape[2]):
                weights = block_weights(query, key, visible, start, end)
                context[:, :, start:end] = (below(weights, key) @ value[:, :, :end]).view_as(context[:, :, start:end])
        ctx.save_for_backward(query, key, value, visible)
        ctx.scale = scale
        return context

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> tuple[Tensor | None, ...]:
        """P: weights, made again. dV = P^T dC, dP = dC V^T, dS = P * (dP - sum(P * dP)), dQ = dS K, dK = dS^T Q."""
        query, key, value, visible = ctx.saved_tensors  # query already scaled
        with torch.autocast("cpu", enabled=False):
            gradient = gradients[0].to(query.dtype).contiguous()
            dquery, dkey, dvalue = torch.empty_like(query), torch.zeros_like(key), torch.zeros_like(value)
            for start, end in blocks(query.shape[2]):
                weights = below(block_weights(query, key, visible, start, end), key)
                here = dquery[:, :, start:end]
                dcontext, queries = below(gradient[:, :, start:end], key), below(query[:, :, start:end], key)
                dweights = dcontext @ value[:, :, :end].transpose(-2, -1)
                dscores = torch._softmax_backward_data(dweights, weights, -1, weights.dtype)
                here.copy_((dscores @ key[:, :, :end]).view_as(here))
                dkey[:, :, :end] += dscores.transpose(-2, -1) @ queries
                dvalue[:, :, :end] += weights.transpose(-2, -1) @ dcontext
            return dquery.mul_(ctx.scale), dkey, dvalue, None, None


def below(x: Tensor, key: Tensor) -> Tensor:
    """x (B, H, t, n) -> (B, G, H / G * t, n): the heads that read one key head, below each other."""
    return x.reshape(x.shape[0], key.shape[1], -1, x.shape[-1])


def blocks(tokens: int) -> list[tuple[int, int]]:
    """First and last+1 query of each block."""
    return [(start, min(start + BLOCK_TOKENS, tokens)) for start in range(0, tokens, BLOCK_TOKENS)]


def block_weights(query: Tensor, key: Tensor, visible: Tensor | None, start: int, end: int) -> Tensor:
    """Weights of queries start..end-1 over keys 0..end-1: (B, H, end - start, end)."""
    scores = below(query[:, :, start:end], key) @ key[:, :, :end].transpose(-2, -1)
    scores = scores.view(*query.shape[:2], end - start, end)
    if visible is None and kernels.fits(scores, end) and scores.is_contiguous():
        return kernels.causal_softmax(scores, start)
    if visible is None:
        later = torch.ones(end - start, end - start, dtype=torch.bool, device=query.device).triu(1)
        scores[..., start:].masked_fill_(later, float("-inf"))
    else:
        scores.masked_fill_(~visible[:, :, start:end, :end], float("-inf"))
    return torch.softmax(scores, dim=-1)  # sums in float32 inside
