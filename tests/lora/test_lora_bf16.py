"""LoRA under autocast: bfloat16 products over float32 weights, as on a GPU."""

import pytest
import torch
from torch import nn

from tohum.lora.layer import LoraLinear, LoraOverBytes
from tohum.model.int8 import Int8Linear


@pytest.mark.parametrize("bias", [False, True])
@pytest.mark.parametrize("kind", ["float", "bytes", "dora"])
def test_bfloat16_products_are_near_those_of_float32(kind, bias):
    torch.manual_seed(0)
    linear = nn.Linear(32, 24, bias=bias).requires_grad_(False)
    layer = LoraOverBytes(Int8Linear.of(linear.weight, linear.bias)) if kind == "bytes" else LoraLinear(linear)
    lengths = torch.linalg.norm(layer.weight.detach(), dim=1) if kind == "dora" else None
    layer.put(0.3 * torch.randn(4, 32), 0.3 * torch.randn(24, 4), lengths, scale=2.0)
    found = []
    for narrow in (False, True):
        x = torch.randn(3, 5, 32, generator=torch.Generator().manual_seed(1)).requires_grad_()
        with torch.autocast("cpu", dtype=torch.bfloat16, enabled=narrow):
            y = layer(x)
        assert y.dtype == (torch.bfloat16 if narrow and kind != "dora" else y.dtype)
        y.float().square().sum().backward()
        found.append([y.detach().float(), x.grad, layer.lora_a.grad, layer.lora_b.grad])
        layer.zero_grad()
    for exact, near in zip(*found, strict=True):
        assert near.dtype == torch.float32
        assert (near - exact).abs().max() < 0.03 * exact.abs().max()
