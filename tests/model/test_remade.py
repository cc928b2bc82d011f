"""What backward makes again is not kept, and gives the same bits."""

import pytest
import torch
import torch.nn.functional as F

from tohum.kernels.build import library
from tohum.model.config import FeedForwardSpec
from tohum.model.feed_forward import GATED, PLAIN, build_feed_forward
from tohum.model.remade import made_again


def test_a_tensor_made_again_is_not_kept_and_its_gradients_have_the_same_bits():
    torch.manual_seed(0)
    x, weight = torch.randn(5, 8, requires_grad=True), torch.randn(3, 8, requires_grad=True)
    made = []

    def make():
        made.append(True)
        return x.detach().sin()

    wide = x.sin()
    expected = torch.autograd.grad(F.linear(wide, weight).square().sum(), (x, weight))
    with made_again(wide := x.sin(), make):
        y = F.linear(wide, weight)
    assert not made
    found = torch.autograd.grad(y.square().sum(), (x, weight))
    assert made == [True]
    assert all(torch.equal(ours, theirs) for ours, theirs in zip(found, expected, strict=True))


@pytest.mark.parametrize("shape", [(6, 16), (2, 3, 16)])
@pytest.mark.parametrize("kind", ["swiglu", "geglu", "gelu_tanh", "relu2"])
def test_a_layer_has_the_gradients_of_its_formula(kind, shape):
    torch.manual_seed(0)
    layer = build_feed_forward(16, FeedForwardSpec(kind=kind, width=64))
    x = torch.randn(shape, requires_grad=True)
    y = layer(x)
    y.square().sum().backward()
    wide = layer.up(x)
    plain = layer.down({**GATED, **PLAIN}[kind](layer.gate(x)) * wide if kind in GATED else PLAIN[kind](wide))
    grads = torch.autograd.grad(plain.square().sum(), list(layer.parameters()))
    compiled = kind == "swiglu" and library("training") is not None  # whose exponential is another one
    for parameter, grad in zip(layer.parameters(), grads, strict=True):
        torch.testing.assert_close(parameter.grad, grad, rtol=1e-5 if compiled else 0, atol=1e-6 if compiled else 0)


@pytest.mark.parametrize(("kind", "kept"), [("swiglu", 2), ("geglu", 3), ("gelu_tanh", 1), ("relu2", 2)])
def test_the_widest_tensors_that_are_kept_are_as_many_as_the_forecast_counts(kind, kept):
    layer = build_feed_forward(16, FeedForwardSpec(kind=kind, width=64))
    wide = {}

    def keep(tensor):
        if tensor.shape[-1] == 64 and tensor.numel() == 6 * 64:
            wide[tensor.data_ptr()] = tensor
        return tensor

    with torch.autograd.graph.saved_tensors_hooks(keep, lambda tensor: tensor):
        y = layer(torch.randn(6, 16, requires_grad=True))
    assert y.requires_grad
    assert len(wide) == kept
