"""Rotary positions: products depend on distance alone, the layout is halves, Llama 3's stretching is exact."""

import math

import pytest
import torch

from tohum.embedding.rotary import NoRotation, RotaryTable, Rotate, frequencies
from tohum.model.config import RopeScaling

SCALING = RopeScaling(factor=8.0, low_frequency_factor=1.0, high_frequency_factor=4.0, original_context=8192)


def test_frequencies_fall_from_one_to_nearly_the_inverse_base():
    found = frequencies(8, 10_000.0)
    torch.testing.assert_close(found, torch.tensor([1.0, 0.1, 0.01, 0.001]))


def test_each_pair_is_a_coordinate_of_the_first_half_and_one_of_the_second():
    table = RotaryTable(4, 8, 100.0)
    x = torch.zeros(1, 4, 1, 4)
    x[..., 1] = 1.0  # frequency of pair 1: 100^(-2/4) = 0.1 radians per token
    turned = Rotate()(x, table(4, None))[0, 3, 0]
    torch.testing.assert_close(turned, torch.tensor([0.0, math.cos(0.3), 0.0, math.sin(0.3)]))


def test_products_depend_on_the_distance_alone():
    torch.manual_seed(0)
    table = RotaryTable(16, 64, 10_000.0).double()
    query, key = torch.randn(2, 1, 1, 1, 16, dtype=torch.float64)

    def product(query_position, key_position):
        turned = [Rotate()(x, table(1, torch.tensor([[p]]))) for x, p in ((query, query_position), (key, key_position))]
        return (turned[0] * turned[1]).sum().item()

    assert product(5, 2) == pytest.approx(product(45, 42), abs=1e-6)
    assert product(5, 2) != pytest.approx(product(2, 5), abs=1e-3)


def test_rotation_keeps_lengths_and_its_gradient_is_exact():
    torch.manual_seed(0)
    rotation = RotaryTable(8, 16, 10_000.0).double()(5, None)
    x = torch.randn(2, 5, 3, 8, dtype=torch.float64, requires_grad=True)
    torch.testing.assert_close(Rotate()(x, rotation).norm(dim=-1), x.norm(dim=-1))
    assert torch.autograd.gradcheck(lambda y: Rotate()(y, rotation), (x,))


def test_positions_given_per_row_equal_the_slice():
    table = RotaryTable(8, 16, 10_000.0)
    given = table(5, torch.arange(5).expand(2, 5))
    for ours, plain in zip(given, table(5, None), strict=True):
        torch.testing.assert_close(ours, plain.expand_as(ours))


def test_stretching_keeps_fast_pairs_slows_slow_pairs_and_blends_between():
    plain, found = frequencies(128, 500_000.0), frequencies(128, 500_000.0, SCALING)
    turns = SCALING.original_context * plain / (2 * math.pi)
    torch.testing.assert_close(found[turns > 4], plain[turns > 4])
    torch.testing.assert_close(found[turns < 1], plain[turns < 1] / 8)
    between = (turns > 1) & (turns < 4)
    assert between.any()
    assert ((found < plain) & (found > plain / 8))[between].all()


def test_stretching_equals_transformers():
    transformers = pytest.importorskip("transformers")
    from transformers.modeling_rope_utils import ROPE_INIT_FUNCTIONS

    config = transformers.LlamaConfig(
        hidden_size=128, num_attention_heads=1, head_dim=128, max_position_embeddings=131072,
        rope_parameters={"rope_type": "llama3", "rope_theta": 500_000.0, "factor": 8.0, "low_freq_factor": 1.0,
                         "high_freq_factor": 4.0, "original_max_position_embeddings": 8192})
    theirs, _ = ROPE_INIT_FUNCTIONS["llama3"](config)
    torch.testing.assert_close(frequencies(128, 500_000.0, SCALING), theirs, rtol=1e-6, atol=0)


def test_no_rotation_returns_its_input():
    x = torch.randn(1, 2, 3, 4)
    assert NoRotation()(x, None) is x


def test_tables_are_no_part_of_the_stored_weights():
    assert not RotaryTable(8, 16, 10_000.0).state_dict()
