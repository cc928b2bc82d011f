"""What backward makes again is not kept, and gives the same bits."""

import pytest
import torch
import torch.nn.functional as F

from tohum.model.config import FeedForwardSpec
from tohum.model.feed_forward import build_feed_forward
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
def test_a_gated_layer_has_the_gradients_of_its_formula(shape):
    torch.manual_seed(0)
    layer = build_feed_forward(16, FeedForwardSpec(kind="swiglu", width=64))
    x = torch.randn(shape, requires_grad=True)
    y = layer(x)
    y.square().sum().backward()
    gate, up = layer.gate(x), layer.up(x)
    plain = layer.down(F.silu(gate) * up)
    grads = torch.autograd.grad(plain.square().sum(), list(layer.parameters()))
    assert all(torch.equal(parameter.grad, grad) for parameter, grad in zip(layer.parameters(), grads, strict=True))
