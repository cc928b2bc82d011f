"""Initial values: complete, reproducible, of the documented scale, and with a sensible first loss."""

import math

import pytest
import torch

from tohum.model.init import MATRIX_GAIN, TABLE_STD, initialise
from tohum.model.network import Network
from tohum.model.presets import PRESETS, from_depth


def initialised(config, seed=0):
    network = Network(config)
    initialise(network, torch.Generator().manual_seed(seed))
    return network


@pytest.mark.parametrize("name", [name for name in PRESETS if name.startswith("tiny-")])
def test_every_value_comes_from_the_seed(name):
    one, same, other = (initialised(PRESETS[name](), seed).state_dict() for seed in (1, 1, 2))
    assert all(torch.equal(one[key], same[key]) for key in one)
    assert all(not torch.equal(one[key], other[key]) for key in one if one[key].ndim == 2)
    vectors = {key: value for key, value in one.items() if value.ndim == 1}
    assert all((value == (0 if key.endswith("bias") else 1)).all() for key, value in vectors.items())


def test_initialising_leaves_the_global_generator_alone():
    network = Network(PRESETS["tiny-qwen3"]())
    before = torch.get_rng_state()
    initialise(network, torch.Generator().manual_seed(0))
    assert torch.equal(torch.get_rng_state(), before)


def test_values_do_not_depend_on_the_dtype():
    single, double = Network(PRESETS["tiny-llama"]()), Network(PRESETS["tiny-llama"]()).double()
    for network in (single, double):
        initialise(network, torch.Generator().manual_seed(3))
    for a, b in zip(single.parameters(), double.parameters(), strict=True):
        assert torch.equal(a.double(), b)


def test_standard_deviations_are_the_documented_ones():
    network = initialised(from_depth(2, 512, 64))
    width, block = network.config.width, network.blocks[0]
    for parameter, wanted in ((network.embedding.token.weight, TABLE_STD),
                              (block.attention.query.weight, MATRIX_GAIN / math.sqrt(width)),
                              (block.feed_forward.gate.weight, MATRIX_GAIN / math.sqrt(width)),
                              (block.attention.output.weight, MATRIX_GAIN / math.sqrt(4 * width)),
                              (block.feed_forward.down.weight,
                               MATRIX_GAIN / math.sqrt(4 * block.feed_forward.down.in_features))):
        assert parameter.std().item() == pytest.approx(wanted, rel=0.05)


@pytest.mark.parametrize("name", ["tiny-gpt2", "tiny-qwen3", "tiny-arcee"])
def test_the_first_loss_is_that_of_guessing(name):
    network = initialised(PRESETS[name]()).eval()
    ids = torch.randint(256, (4, 64), generator=torch.Generator().manual_seed(0))
    loss = torch.nn.functional.cross_entropy(network.logits(ids)[:, :-1].flatten(0, 1), ids[:, 1:].flatten())
    assert loss.item() == pytest.approx(math.log(256), abs=0.15)
