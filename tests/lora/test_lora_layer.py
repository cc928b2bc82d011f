"""lora.layer: the product that is added in place, against the sum as the formula has it."""

import pytest
import torch
from torch import Tensor, nn

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
