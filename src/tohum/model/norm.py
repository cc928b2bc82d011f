"""Norms: vectors (…, D) -> vectors of unit scale times a learned weight (D,)."""

from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from tohum.kernels import training as kernels
from tohum.model.config import NormSpec


class RMSNorm(nn.Module):
    """x / sqrt(mean(x^2) + eps) * weight (arXiv:1910.07467): the scale alone, the mean is left in."""

    def __init__(self, width: int, eps: float):
        super().__init__()
        self.weight = nn.Parameter(torch.ones(width))
        self.eps = eps

    def forward(self, x: Tensor) -> Tensor:
        """(…, D) -> (…, D), arithmetic in float32 or better, result in the dtype of x (but see `for_products`)."""
        if x.device.type == "cpu":
            if torch.is_grad_enabled():
                return for_products(CpuRMSNorm.apply(x, self.weight, self.eps))
            return for_products(normalise(x, self.weight, self.eps)[0])  # without the bookkeeping of a gradient
        return F.rms_norm(x, self.weight.shape, self.weight, self.eps)

    def extra_repr(self) -> str:
        return f"{len(self.weight)}, eps={self.eps:g}"


class LayerNorm(nn.LayerNorm):
    """(x - mean) / sqrt(var + eps) * weight + bias (arXiv:1607.06450)."""

    def forward(self, input: Tensor) -> Tensor:  # torch's name for x
        """(…, D) -> (…, D)."""
        return for_products(super().forward(input))


def for_products(x: Tensor) -> Tensor:
    """Under autocast on a CPU in the format of the products that read it: one copy for all of them."""
    if x.device.type == "cpu" and x.dtype is torch.float32 and torch.is_autocast_enabled("cpu"):
        return x.to(torch.get_autocast_dtype("cpu"))
    return x


class RMSNormAcrossHeads(RMSNorm):
    """One norm over all heads together: (B, T, heads, E) is read as (B, T, heads * E) (OLMo 2, arXiv:2501.00656)."""

    def forward(self, x: Tensor) -> Tensor:
        """(B, T, heads, E) -> (B, T, heads, E)."""
        return super().forward(x.flatten(2)).view_as(x)


def normalise(x: Tensor, weight: Tensor, eps: float) -> tuple[Tensor, Tensor]:
    """x (…, D), weight (D,) -> the result in x's dtype, and the scale of each vector (…, 1)."""
    if kernels.fits(x, x.shape[-1]):
        return kernels.rms(x, weight, eps)
    exact = x.to(torch.promote_types(x.dtype, torch.float32))
    length = torch.linalg.vector_norm(exact, dim=-1, keepdim=True)  # (…, 1)
    scale = torch.rsqrt(length.square() / x.shape[-1] + eps)
    return (exact * scale).mul_(weight).to(x.dtype), scale


class CpuRMSNorm(torch.autograd.Function):
    """F.rms_norm, forward and backward three times as fast on a CPU, where torch has no kernel for it.

    With n = x * scale, scale = 1 / sqrt(mean(x^2) + eps) and u = gradient * weight, the chain rule gives

        RMSNorm:    scale * (u - n * mean(u * n))
        LayerNorm:  scale * (u - n * mean(u * n) - mean(u))      where n has its mean taken out first

    so LayerNorm's kernel, told that the mean was zero, is right but for the last term, which is added back.
    """

    @staticmethod
    def forward(ctx: Any, x: Tensor, weight: Tensor, eps: float) -> Tensor:
        """x (…, D), weight (D,) -> (…, D) in x's dtype."""
        with torch.autocast("cpu", enabled=False):
            result, scale = normalise(x, weight, eps)
            ctx.save_for_backward(x, weight, scale)
            return result

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> tuple[Tensor, Tensor | None, None]:
        """Gradients of x and of the weight."""
        x, weight, scale = ctx.saved_tensors
        if kernels.fits(x, x.shape[-1]):
            dx, dweight = kernels.rms_backward(gradients[0], x, weight, scale)
            return dx, dweight.to(weight.dtype), None
        with torch.autocast("cpu", enabled=False):
            exact, gradient, precise = (part.to(scale.dtype) for part in (x, gradients[0], weight))
            no_mean = torch.zeros_like(scale)
            dx, dweight, _ = torch.ops.aten.native_layer_norm_backward(
                gradient.contiguous(), exact.contiguous(), weight.shape, no_mean, scale, precise, None,
                [True, ctx.needs_input_grad[1], False])
            mean = (gradient @ precise)[..., None] / x.shape[-1]  # of u, (…, 1)
            return dx.add_(mean * scale).to(x.dtype), None if dweight is None else dweight.to(weight.dtype), None


def build_norm(width: int, spec: NormSpec) -> nn.Module:
    """The norm that a model uses between its parts."""
    if spec.kind == "rms":
        return RMSNorm(width, spec.eps)
    return LayerNorm(width, eps=spec.eps, bias=spec.bias)
