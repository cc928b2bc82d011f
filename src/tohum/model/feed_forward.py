"""Feed-forward layers: each position's vector (D,) -> wide hidden layer -> (D,), the same for all positions.

    plain:  down(act(up(x)))                two matrices    GELU (GPT-2), ReLU^2 (arXiv:2109.08668)
    gated:  down(act(gate(x)) * up(x))      three matrices  SwiGLU, GeGLU (arXiv:2002.05202)

A mixture of experts (arXiv:1701.06538, Mixtral arXiv:2401.04088) has many such layers and a router: each token
passes the few that the router scores highest, and their outputs are added by the router's probabilities.
"""

from collections.abc import Callable
from functools import partial
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.autograd.function import once_differentiable

from tohum.kernels import training as kernels
from tohum.kernels.linear import Linear
from tohum.model.config import ExpertsSpec, FeedForwardSpec
from tohum.model.remade import made_again


def relu_squared(x: Tensor) -> Tensor:
    """max(x, 0)^2."""
    return F.relu(x).square()


def gelu_tanh(x: Tensor) -> Tensor:
    """0.5 x (1 + tanh(sqrt(2 / pi) (x + 0.044715 x^3))), GPT-2's GELU (arXiv:1606.08415)."""
    return Gelu.apply(x) if torch.is_grad_enabled() else plain_gelu(x)


def plain_gelu(x: Tensor) -> Tensor:
    """The same, without a gradient."""
    return kernels.gelu(x) if kernels.fits(x, x.shape[-1]) else F.gelu(x, approximate="tanh")


class Gelu(torch.autograd.Function):
    """GELU, which keeps its input."""

    @staticmethod
    def forward(ctx: Any, x: Tensor) -> Tensor:
        """Any shape."""
        ctx.save_for_backward(x)
        return plain_gelu(x)

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, *gradients: Tensor) -> Tensor:  # pyrefly: ignore[bad-override]
        """Gradient of the input."""
        (x,) = ctx.saved_tensors
        if kernels.fits(x, x.shape[-1]):
            return kernels.gelu_backward(gradients[0], x)
        return torch.ops.aten.gelu_backward(gradients[0], x, approximate="tanh")


Activation = Callable[[Tensor], Tensor]
PLAIN: dict[str, Activation] = {"gelu_tanh": gelu_tanh, "relu2": relu_squared}
GATED: dict[str, Activation] = {"swiglu": F.silu, "geglu": gelu_tanh}


class PlainFeedForward(nn.Module):
    """down(act(up(x)))."""

    def __init__(self, width: int, spec: FeedForwardSpec):
        super().__init__()
        self.up = Linear(width, spec.width, bias=spec.bias)
        self.down = Linear(spec.width, width, bias=spec.bias)
        self.activation = PLAIN[spec.kind]

    def forward(self, x: Tensor) -> Tensor:
        """(B, T, D) -> (B, T, D)."""
        wide = self.up(x)
        hidden = self.activation(wide)
        if self.activation is gelu_tanh and torch.is_grad_enabled():  # which keeps `wide` in any case
            with made_again(hidden, partial(plain_gelu, wide.detach())):
                return self.down(hidden)
        return self.down(hidden)


class GatedFeedForward(nn.Module):
    """down(act(gate(x)) * up(x)): one half decides how much of the other passes."""

    def __init__(self, width: int, spec: FeedForwardSpec):
        super().__init__()
        self.gate = Linear(width, spec.width, bias=spec.bias)
        self.up = Linear(width, spec.width, bias=spec.bias)
        self.down = Linear(spec.width, width, bias=spec.bias)
        self.activation = GATED[spec.kind]

    def forward(self, x: Tensor) -> Tensor:
        """(B, T, D) -> (B, T, D)."""
        gate, up = self.gate(x), self.up(x)
        if self.activation is F.silu and not torch.is_grad_enabled():
            return self.down(swish_product(gate, up))
        if self.activation is F.silu:
            product = SwishProduct.apply(gate, up)
            with made_again(product, partial(swish_product, gate.detach(), up.detach())):
                return self.down(product)
        opened = self.activation(gate)
        product = opened * up
        if not torch.is_grad_enabled():
            return self.down(product)
        with made_again(product, partial(torch.mul, opened.detach(), up.detach())):
            return self.down(product)


def swish_product(gate: Tensor, up: Tensor) -> Tensor:
    """(…, F) twice -> (…, F), in one tensor: another would leave a gap between those that are kept."""
    if kernels.fits(gate, gate.shape[-1]) and up.dtype is gate.dtype:
        return kernels.swish(gate, up)
    return F.silu(gate).mul_(up)


class SwishProduct(torch.autograd.Function):
    """silu(gate) * up, which keeps its two inputs and makes silu(gate) again: a third less of the widest tensors."""

    @staticmethod
    def forward(ctx: Any, gate: Tensor, up: Tensor) -> Tensor:
        """(…, F) twice -> (…, F)."""
        ctx.save_for_backward(gate, up)
        return swish_product(gate, up)

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> tuple[Tensor, Tensor]:
        """Gradients of both; torch's are, to the bit, those that autograd gives for the same formula."""
        gate, up = ctx.saved_tensors
        if kernels.fits(gate, gate.shape[-1]) and up.dtype is gate.dtype:
            return kernels.swish_backward(gradients[0], gate, up)
        return torch.ops.aten.silu_backward(gradients[0] * up, gate), gradients[0] * F.silu(gate)


class MixtureOfExperts(nn.Module):
    """Sum over the chosen experts e of p_e(x) * expert_e(x), with p = softmax(router(x)) in float32."""

    def __init__(self, width: int, spec: FeedForwardSpec, choice: ExpertsSpec):
        super().__init__()
        self.router = nn.Linear(width, choice.count, bias=False)
        self.experts = nn.ModuleList(build_single(width, spec) for _ in range(choice.count))
        self.choice = choice

    def forward(self, x: Tensor) -> Tensor:
        """(B, T, D) -> (B, T, D); an expert that no token chose is computed in training only, for its zero gradient."""
        flat = x.reshape(-1, x.shape[-1])  # (N, D)
        probabilities = torch.softmax(self.router(flat).float(), dim=-1)  # (N, experts)
        weights, chosen = probabilities.topk(self.choice.chosen, dim=-1)  # (N, k) each
        if self.choice.normalised:
            weights = weights / weights.sum(dim=-1, keepdim=True)
        exact = torch.is_autocast_enabled(x.device.type)  # then a sum of several experts stays in float32
        result = torch.zeros_like(flat, dtype=weights.dtype if exact else x.dtype)
        for number in range(self.choice.count) if self.training else chosen.unique().tolist():
            tokens, place = torch.where(chosen == number)
            share = weights[tokens, place, None].to(x.dtype)  # (n, 1)
            result = result.index_add(0, tokens, (self.experts[number](flat[tokens]) * share).to(result.dtype))
        return result.view_as(x)


def build_single(width: int, spec: FeedForwardSpec) -> PlainFeedForward | GatedFeedForward:
    """One layer of the spec's kind."""
    return GatedFeedForward(width, spec) if spec.kind in GATED else PlainFeedForward(width, spec)


def build_feed_forward(width: int, spec: FeedForwardSpec) -> PlainFeedForward | GatedFeedForward | MixtureOfExperts:
    """The layer that the spec describes."""
    return MixtureOfExperts(width, spec, spec.experts) if spec.experts else build_single(width, spec)
