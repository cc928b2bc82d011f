"""Counts and sizes from the configuration equal those of the built thing."""

import pytest
import torch
from torch.utils.flop_counter import FlopCounterMode

from tohum.machine import has_bf16_arithmetic
from tohum.model import feed_forward
from tohum.model.counting import (
    MicroBatch,
    cache_bytes,
    flops_per_token,
    forward_flops_per_token,
    matrix_parameters,
    parameters,
    training_memory,
)
from tohum.model.network import Network
from tohum.model.presets import PRESETS, from_depth
from tohum.model.recipe import ModelRecipe, resolve_model
from tohum.model.remade import made_again

TINY = {name: make() for name, make in PRESETS.items() if name.startswith("tiny-")}
VARIANTS = TINY | {"depth 2": from_depth(2, 300, 64)} | {
    str(options): resolve_model(ModelRecipe(width=32, layers=2, heads=4, **options), 97, 48) for options in (
        {"kv_heads": 2, "bias": True}, {"feed_forward": "relu2", "bias": True, "norm": "layer"},
        {"norm": "layer", "bias": False, "positions": "learned", "tied": False},
        {"norm_places": "both", "head_width": 6}, {"norm_places": "post", "qk_norm": False, "positions": "none"},
        {"feed_forward": "geglu", "feed_forward_width": 40, "bias": True})}


@pytest.mark.parametrize("name", VARIANTS)
def test_parameter_count_is_exact(name):
    assert parameters(VARIANTS[name]) == sum(p.numel() for p in Network(VARIANTS[name]).parameters())


@pytest.mark.parametrize(("name", "count"), [
    ("gpt2-124m", 124_439_808), ("gpt2-355m", 354_823_168), ("gpt2-774m", 774_030_080), ("gpt2-1558m", 1_557_611_200),
    ("gpt-config-124m", 163_009_536), ("llama-3.2-1b", 1_235_814_400), ("qwen3-0.6b", 596_049_920)])
def test_parameter_counts_of_published_models(name, count):
    assert parameters(PRESETS[name]()) == count


@pytest.mark.parametrize("name", ["tiny-gpt2", "tiny-qwen3", "tiny-arcee", "tiny-exaone4"])
def test_forward_flops_equal_those_counted_while_running(name):
    config = TINY[name].replace(dropout=0.0, attention_dropout=0.0)
    layers = tuple(layer.replace(attention=layer.attention.replace(window=None)) for layer in config.layers)
    network = Network(config.replace(layers=layers), explicit=True)
    with FlopCounterMode(display=False) as counter, torch.no_grad():
        network.logits(torch.zeros(2, 50, dtype=torch.int64))
    assert forward_flops_per_token(network.config, 50) == counter.get_total_flops() / 100


def test_training_flops_are_six_per_weight_and_twelve_lhet():
    config = from_depth(4, 8192, 256)
    heads = config.layers[0].attention.heads
    assert flops_per_token(config, 256) == 6 * matrix_parameters(config) + 12 * 4 * heads * 64 * 256


def test_a_window_limits_the_flops_of_attention():
    config = TINY["tiny-gemma2"]  # windows 16 and none
    grown = forward_flops_per_token(config, 128) - forward_flops_per_token(config, 64)
    assert grown == 4 * 4 * 8 * 64  # one layer only


def kept_bytes(config, batch, monkeypatch):
    """Bytes that autograd really keeps for the backward pass of the blocks, weights left out."""
    network = Network(config).train()
    own = {tensor.untyped_storage().data_ptr() for tensor in (*network.parameters(), *network.buffers())}
    kept = {}

    def pack(tensor):
        storage = tensor.untyped_storage()
        if storage.data_ptr() not in own:
            kept[storage.data_ptr()] = tensor
        return tensor

    def counted(tensor, make):  # hooks inside others take their place
        inner = made_again(tensor, make)
        return torch.autograd.graph.saved_tensors_hooks(
            lambda saved: pack(saved) if inner.pack_hook(saved) is saved else inner.pack_hook(saved),
            inner.unpack_hook)

    monkeypatch.setattr(feed_forward, "made_again", counted)
    with torch.autograd.graph.saved_tensors_hooks(pack, lambda tensor: tensor), \
            torch.autocast("cpu", torch.bfloat16, enabled=batch.autocast):
        network.hidden(torch.zeros(batch.rows, batch.tokens, dtype=torch.int64))
    return sum(tensor.untyped_storage().nbytes() for tensor in kept.values())


@pytest.mark.parametrize("autocast", [False, True])
@pytest.mark.parametrize("name", VARIANTS)
def test_activations_are_forecast_within_five_percent(name, autocast, monkeypatch):
    config = VARIANTS[name]
    batch = MicroBatch(rows=8, tokens=config.context, autocast=autocast, native=has_bf16_arithmetic())
    memory = training_memory(config, batch)
    assert memory.activations + memory.weight_copies == pytest.approx(kept_bytes(config, batch, monkeypatch), rel=0.05)


def test_memory_parts_are_those_of_float32_adam():
    config, batch = from_depth(2, 512, 64), MicroBatch(rows=4, tokens=64)
    memory = training_memory(config, batch)
    assert memory.parameters == memory.gradients == memory.optimizer // 2 == 4 * parameters(config)
    assert memory.weight_copies == 0
    assert memory.total == sum((memory.parameters, memory.gradients, memory.optimizer, memory.activations, memory.loss))
    twice = training_memory(config, MicroBatch(rows=8, tokens=64))
    assert twice.activations == 2 * memory.activations


@pytest.mark.parametrize("name", TINY)
def test_cache_size_is_exact(name):
    cache = Network(TINY[name]).new_cache(3, 40)
    assert cache_bytes(TINY[name], 3, 40) == cache.bytes
