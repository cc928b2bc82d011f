"""Norms and feed-forward layers against their formulas, in every dtype."""

import pytest
import torch
import torch.nn.functional as F

from tohum.model.config import FeedForwardSpec, NormSpec
from tohum.model.feed_forward import build_feed_forward
from tohum.model.norm import CpuRMSNorm, RMSNorm, build_norm


def as_transformers(x, weight, eps):
    """LlamaRMSNorm: float32 inside, cast back, then the weight."""
    exact = x.float()
    exact = exact * torch.rsqrt(exact.pow(2).mean(-1, keepdim=True) + eps)
    return weight * exact.to(x.dtype)


@pytest.mark.parametrize("shape", [(3, 5, 32), (2, 3, 4, 8), (7, 1)])
@pytest.mark.parametrize("eps", [1e-6, 0.5])
def test_rms_norm_equals_torch_and_transformers(shape, eps):
    torch.manual_seed(0)
    norm, x = RMSNorm(shape[-1], eps), torch.randn(shape) * 3
    norm.weight.data.normal_()
    torch.testing.assert_close(norm(x), F.rms_norm(x, shape[-1:], norm.weight, eps), rtol=1e-6, atol=1e-6)
    torch.testing.assert_close(norm(x), as_transformers(x, norm.weight, eps), rtol=1e-6, atol=1e-6)


def test_rms_norm_has_exact_gradients():
    torch.manual_seed(0)
    x, weight = torch.randn(2, 3, 8, dtype=torch.float64), torch.randn(8, dtype=torch.float64)
    assert torch.autograd.gradcheck(lambda a, b: CpuRMSNorm.apply(a, b, 1e-3),
                                    (x.requires_grad_(), weight.requires_grad_()))


def test_rms_norm_of_bfloat16_computes_in_float32():
    torch.manual_seed(0)
    norm, x = RMSNorm(64, 1e-6), torch.randn(5, 64).bfloat16().requires_grad_()
    exact = x.detach().float().requires_grad_()
    found, wanted = norm(x), norm(exact)
    assert found.dtype == torch.bfloat16
    torch.testing.assert_close(found, wanted.bfloat16())
    slope = torch.randn(5, 64).bfloat16()
    found.backward(slope)
    wanted.backward(slope.float())
    torch.testing.assert_close(x.grad, exact.grad.bfloat16())


def test_layer_norm_takes_the_mean_out_and_may_lack_a_bias():
    x = torch.tensor([[1.0, 3.0, 5.0, 7.0]])
    norm = build_norm(4, NormSpec(kind="layer", eps=1e-5))
    assert norm.bias is None
    torch.testing.assert_close(norm(x), (x - 4) / (5 + 1e-5) ** 0.5)
    assert build_norm(4, NormSpec(kind="layer", eps=1e-5, bias=True)).bias is not None


FORMULAS = {
    "gelu_tanh": lambda up, gate: 0.5 * up * (1 + torch.tanh((2 / torch.pi) ** 0.5 * (up + 0.044715 * up**3))),
    "relu2": lambda up, gate: torch.clamp(up, min=0) ** 2,
    "swiglu": lambda up, gate: gate / (1 + torch.exp(-gate)) * up,
    "geglu": lambda up, gate: FORMULAS["gelu_tanh"](gate, None) * up,
}


@pytest.mark.parametrize("kind", FORMULAS)
@pytest.mark.parametrize("bias", [False, True])
def test_feed_forward_equals_its_formula(kind, bias):
    torch.manual_seed(0)
    layer, x = build_feed_forward(8, FeedForwardSpec(kind=kind, width=24, bias=bias)), torch.randn(2, 3, 8)
    gate = layer.gate(x) if kind in ("swiglu", "geglu") else None
    torch.testing.assert_close(layer(x), layer.down(FORMULAS[kind](layer.up(x), gate)))
    assert (layer.up.bias is not None) == bias
