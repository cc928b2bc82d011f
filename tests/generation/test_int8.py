"""Matrices as bytes: near the float network, and only where that is allowed another token."""

import pytest
import torch
from torch import nn

from tohum.generation.choice import Choice
from tohum.generation.decode import generate
from tohum.generation.int8 import decode_in_bytes
from tohum.model.int8 import FEW_ROWS, Int8Linear, to_bytes
from tohum.model.network import Network
from tohum.model.presets import PRESETS


def test_each_number_is_within_half_a_step_of_its_row():
    weight = torch.randn(50, 64) * torch.logspace(-3, 3, 50)[:, None]
    weight[7] = 0.0
    values, factors = to_bytes(weight)
    assert values.dtype == torch.int8
    error = (values.float() * factors.float()[:, None] - weight).abs()
    # Rounding the factor to bfloat16 may leave the largest number a little beyond 127 steps.
    assert (error <= 1.001 * (0.5 + 127 * 2**-8) * factors.float()[:, None]).all()
    assert error.median(dim=1).values.le(0.5 * factors.float()).all()
    assert (values[7] == 0).all()


@pytest.mark.parametrize("rows", [1, 3, FEW_ROWS, FEW_ROWS + 1])
@pytest.mark.parametrize("bias", [True, False])
@pytest.mark.parametrize("width", [64, 40, 24, 7])
def test_a_layer_computes_with_the_written_out_matrix(rows, bias, width):
    torch.manual_seed(0)
    linear = nn.Linear(width, 48, bias=bias)
    layer = Int8Linear.of(linear.weight, linear.bias)
    x = torch.randn(2, rows, width)
    with torch.no_grad():
        expected = nn.functional.linear(x, layer.weight, linear.bias)
        assert (layer(x) - expected).abs().max() < 0.02 * expected.abs().max()
        assert layer(x).dtype == x.dtype
        assert (layer.weight - linear.weight).abs().max() < 0.02


@pytest.mark.parametrize("name", ["tiny-qwen3", "tiny-llama", "tiny-gpt2", "tiny-qwen3-moe"])
def test_a_network_in_bytes_says_nearly_the_same(name):
    torch.manual_seed(0)
    network = Network(PRESETS[name]()).eval()
    ids = torch.randint(0, network.config.vocab_size, (1, 12))
    with torch.no_grad():
        before = network.logits(ids)
        held = sum(p.numel() for p in network.blocks.parameters() if p.ndim == 2)
        decode_in_bytes(network)
        after = network.logits(ids)
    assert (after - before).abs().max() < 0.1 * before.std()
    left = sum(p.numel() for p in network.blocks.parameters() if p.ndim == 2)
    assert left < 0.05 * held + 1  # what routers read and norms multiply stays float


def test_where_the_text_parts_the_two_best_scores_are_nearer_than_rounding():
    """One row at a time (bytes by the kernel) against the same matrices written out."""
    torch.manual_seed(3)
    network = decode_in_bytes(Network(PRESETS["tiny-qwen3"]()).eval())
    written = Network(network.config).eval()
    state = {name: value for name, value in network.state_dict().items() if "norm" in name or "embedding" in name}
    for name, module in network.named_modules():
        if isinstance(module, Int8Linear) and name != "decoding_head":
            state[f"{name}.weight"] = module.weight
    written.load_state_dict(state)
    made = [token for _, token in generate(network, [[1, 2, 3]], choice=Choice(temperature=0), max_tokens=60)]
    with torch.no_grad():
        scores = written.logits(torch.tensor([[1, 2, 3, *made]]))[0, 2:-1]
        narrow = network.logits(torch.tensor([[1, 2, 3, *made]]))[0, 2:-1]
    rounding = (scores - narrow).abs().max()
    behind = scores.amax(-1) - scores.gather(1, torch.tensor(made)[:, None])[:, 0]
    assert behind.max() <= 4 * rounding + 0.05 * scores.std()


def test_lookup_works_on_bytes():
    torch.manual_seed(0)
    network = decode_in_bytes(Network(PRESETS["tiny-llama"]()).eval())
    made = list(generate(network, [[5, 6, 7, 5, 6]], choice=Choice(temperature=0, lookup=4), max_tokens=40))
    assert len(made) == 40
