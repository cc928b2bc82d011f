"""lora.layer: the product that is added in place, against the sum as the formula has it."""

import pytest
import torch
from torch import Tensor, nn

from tohum.kernels.linear import Linear
from tohum.lora.layer import LoraLinear

SCALE = 1.5


def layer(bias: bool) -> LoraLinear:
    torch.manual_seed(0)
    made = LoraLinear(nn.Linear(12, 20, bias=bias, dtype=torch.float64).requires_grad_(False))
    made.put(torch.randn(3, 12, dtype=torch.float64), torch.randn(20, 3, dtype=torch.float64), None, scale=SCALE)
    return made


def by_the_formula(made: LoraLinear, x: Tensor) -> Tensor:
    return nn.functional.linear(x, made.weight + SCALE * made.lora_b @ made.lora_a, made.bias)


def outcome(made: LoraLinear, forward: object, before: bool) -> list[Tensor | None]:
    """The output, and the gradients of x, A and B; `before`: something in front of the layer is trained."""
    torch.manual_seed(1)
    x = torch.randn(2, 5, 12, dtype=torch.float64).requires_grad_(before)
    made.zero_grad()
    y = forward(x)
    y.square().sum().backward()
    return [y.detach(), x.grad, made.lora_a.grad, made.lora_b.grad]


@pytest.mark.parametrize("before", [False, True])
@pytest.mark.parametrize("bias", [False, True])
@pytest.mark.parametrize("compiled", [False, True])
def test_output_and_gradients_are_those_of_the_formula(bias, before, compiled):
    made = layer(bias)
    forward = torch.compile(made, backend="eager", fullgraph=True) if compiled else made
    found, wanted = outcome(made, forward, before), outcome(made, lambda x: by_the_formula(made, x), before)
    assert (found[1] is None) == (not before)
    for mine, theirs in zip(found, wanted, strict=True):
        torch.testing.assert_close(mine, theirs)


@pytest.mark.parametrize("shape", [(40, 16), (2, 20, 16)])
def test_under_autocast_it_is_the_formula_up_to_rounding(shape):
    torch.manual_seed(0)
    made = LoraLinear(Linear(16, 24))
    made.put(torch.randn(4, 16), torch.randn(24, 4), None, scale=SCALE)
    made.requires_grad_(False)
    for part in (made.lora_a, made.lora_b):
        part.requires_grad_(True)
    found = []
    for forward in (made, lambda x: by_the_formula(made, x)):
        x = torch.randn(shape, generator=torch.Generator().manual_seed(1)).requires_grad_()
        made.zero_grad()
        with torch.autocast("cpu", torch.bfloat16, enabled=forward is made):
            y = forward(x)
        y.float().square().sum().backward()
        found.append([y.detach().float(), x.grad, made.lora_a.grad, made.lora_b.grad])
    for mine, wanted in zip(*found, strict=True):
        assert (mine - wanted).abs().max() < 0.03 * wanted.abs().max()
