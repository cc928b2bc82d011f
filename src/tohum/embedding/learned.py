"""Learned absolute positions: vectors (B, T, D) + one learned vector for each position, as in GPT-2."""

import torch
import torch.nn.functional as F
from torch import Tensor, nn


class LearnedPositions(nn.Module):
    """x (B, T, D) -> x + weight[positions]; weight is (context, D)."""

    def __init__(self, context: int, width: int):
        super().__init__()
        self.weight = nn.Parameter(torch.randn(context, width))

    def forward(self, x: Tensor, positions: Tensor | None) -> Tensor:
        """positions (B, T) int64, or None for 0..T-1, which is a slice instead of a lookup."""
        if positions is None:
            return x + self.weight[: x.shape[1]]  # (T, D), the same for every row
        return x + F.embedding(positions, self.weight)


class NoPositions(nn.Module):
    """x -> x: positions enter in the attention layers (rotary), or only through the causal mask."""

    def forward(self, x: Tensor, positions: Tensor | None) -> Tensor:
        return x
