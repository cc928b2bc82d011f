"""Norms: vectors (…, D) -> vectors of unit scale times a learned weight (D,)."""

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from tohum.model.config import NormSpec


class RMSNorm(nn.Module):
    """x / sqrt(mean(x^2) + eps) * weight (arXiv:1910.07467): the scale alone, the mean is left in."""

    def __init__(self, width: int, eps: float):
        super().__init__()
        self.weight = nn.Parameter(torch.ones(width))
        self.eps = eps

    def forward(self, x: Tensor) -> Tensor:
        """(…, D) -> (…, D), arithmetic in float32 or better."""
        return F.rms_norm(x, self.weight.shape, self.weight, self.eps)


def build_norm(width: int, spec: NormSpec) -> nn.Module:
    """The norm that a model uses between its parts."""
    if spec.kind == "rms":
        return RMSNorm(width, spec.eps)
    return nn.LayerNorm(width, eps=spec.eps, bias=spec.bias)
