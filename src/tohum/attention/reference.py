"""Explicit attention: queries, keys, values -> context vectors and weights. This is the definition.

    weights = softmax(cap(scale * Q K^T) masked)        (B, H, T, S), each row sums to one
    context = weights V                                 (B, H, T, E)

(arXiv:1706.03762, section 3.2.1.) It keeps the (T, S) matrix, which the fused kernel never writes to memory.
"""

from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor

from tohum.attention.masks import Mask, as_matrix


@dataclass(frozen=True, kw_only=True)
class ScoreRule:
    """How scores are made of products: times `scale`, then cap * tanh(score / cap) when there is a cap."""

    scale: float
    soft_cap: float | None = None  # Gemma 2: 50 (arXiv:2408.00118, section 2)


def share_heads(x: Tensor, heads: int) -> Tensor:
    r"""(B, G, S, E) -> (B, H, S, E): every key/value head serves H/G neighbouring query heads.

    H = 6 queries, multi-head     grouped (GQA)       one for all (MQA)
    q   0 1 2 3 4 5               0 1 2 3 4 5         0 1 2 3 4 5
        | | | | | |               \ / \ / \ /         \_\_|_|_/_/
    k,v 0 1 2 3 4 5                0   1   2               0
        G = 6                     G = 3               G = 1        (arXiv:2305.13245)

    For G = 2, H = 4 the heads [K0, K1] become [K0, K0, K1, K1].
    """
    return x.repeat_interleave(heads // x.shape[1], dim=1)


def attend_with_weights(query: Tensor, key: Tensor, value: Tensor, mask: Mask, rule: ScoreRule,
                        dropout: float = 0.0) -> tuple[Tensor, Tensor]:
    """query (B, H, T, E), key and value (B, G, S, E) -> context (B, H, T, E), weights (B, H, T, S)."""
    key, value = share_heads(key, query.shape[1]), share_heads(value, query.shape[1])
    scores = (query * rule.scale) @ key.transpose(-2, -1)  # (B, H, T, S)
    if rule.soft_cap is not None:
        scores = rule.soft_cap * torch.tanh(scores / rule.soft_cap)
    scores = scores.masked_fill(~as_matrix(mask, scores), float("-inf"))
    exact = torch.promote_types(scores.dtype, torch.float32)  # bf16's 8 bits are too few for long sums
    weights = torch.softmax(scores, dim=-1, dtype=exact).to(value.dtype)
    return F.dropout(weights, dropout, training=dropout > 0) @ value, weights


def attend_explicitly(query: Tensor, key: Tensor, value: Tensor, mask: Mask, rule: ScoreRule,
                      dropout: float = 0.0) -> Tensor:
    """The context vectors of `attend_with_weights` alone; has the signature of `fused.attend`."""
    return attend_with_weights(query, key, value, mask, rule, dropout)[0]
