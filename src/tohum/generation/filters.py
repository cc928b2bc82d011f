"""Filters: logits (B, V) -> logits (B, V), reshaped or with unlikely tokens at minus infinity.

Pure functions that equal the logits processors of `transformers` of the same names. What each one keeps of
five tokens with these probabilities (bars) after a softmax:

    p       0.50  0.25  0.15  0.07  0.03
    top_k(3)   x     x     x     .     .      the three likeliest
    top_p(0.8) x     x     x     .     .      the fewest that reach 0.8 together (0.50 + 0.25 < 0.8)
    min_p(0.2) x     x     x     .     .      at least 0.2 x 0.50 = 0.10
"""

import torch
from torch import Tensor

MINUS_INFINITY = float("-inf")


def repetition_penalty(logits: Tensor, seen: Tensor, penalty: float) -> Tensor:
    """Make tokens that the row holds already less likely (CTRL, arXiv:1909.05858, section 4.1).

    seen (B, V) bool. Positive scores are divided by `penalty`, negative ones multiplied.
    """
    weaker = torch.where(logits < 0, logits * penalty, logits / penalty)
    return torch.where(seen, weaker, logits)


def temperature(logits: Tensor, value: float) -> Tensor:
    """Divide by `value` > 0: below 1 sharpens the distribution, above 1 flattens it."""
    return logits / value


def top_k(logits: Tensor, count: int) -> Tensor:
    """Keep the `count` best tokens, and those that tie with the last of them (arXiv:1805.04833)."""
    worst_kept = logits.topk(min(count, logits.shape[-1])).values[:, -1:]  # (B, 1)
    return logits.masked_fill(logits < worst_kept, MINUS_INFINITY)


def top_p(logits: Tensor, mass: float) -> Tensor:
    """Keep the fewest best tokens whose probabilities reach `mass` together (arXiv:1904.09751)."""
    ascending, order = logits.sort(dim=-1)
    outside = ascending.softmax(dim=-1).cumsum(dim=-1) <= 1 - mass  # (B, V), the unlikely tail
    outside[:, -1] = False  # the best token always stays
    return logits.masked_fill(outside.scatter(1, order, outside), MINUS_INFINITY)


def min_p(logits: Tensor, share: float) -> Tensor:
    """Keep tokens at least `share` times as likely as the best one (arXiv:2407.01082)."""
    probabilities = logits.softmax(dim=-1)
    best = probabilities.amax(dim=-1, keepdim=True)  # (B, 1)
    return logits.masked_fill(probabilities < share * best, MINUS_INFINITY)
