"""Section [model]: one way to say the size, options on top, messages that help."""

import pytest

from tohum.config import validate
from tohum.errors import ConfigError
from tohum.model.config import NormSpec
from tohum.model.presets import DEFAULT_DEPTH, PRESETS, from_depth
from tohum.model.recipe import ModelRecipe, resolve_model


def model(vocab_size=300, context=64, **section):
    return resolve_model(validate(ModelRecipe, section, "recipe.toml: model"), vocab_size, context)


def test_an_empty_section_is_the_default_depth():
    assert model() == from_depth(DEFAULT_DEPTH, 300, 64)


def test_depth_is_the_dial_of_the_default_family():
    assert model(depth=2) == from_depth(2, 300, 64)


def test_a_preset_takes_vocabulary_and_context_from_the_data():
    assert model(preset="gpt2-124m") == PRESETS["gpt2-124m"]().replace(vocab_size=300, context=64)


def test_explicit_sizes_build_the_recipe_of_nanogpt():
    config = model(width=128, layers=4, heads=4, positions="learned", norm="layer", feed_forward="gelu_tanh",
                   qk_norm=False, bias=False)
    attention, hidden = config.layers[0].attention, config.layers[0].feed_forward
    assert len(config.layers) == 4
    assert config.width == 128
    assert config.learned_positions
    assert config.tied
    assert (attention.heads, attention.head_width, attention.rope_base, attention.qk_norm) == (4, 32, None, False)
    assert (hidden.kind, hidden.width, hidden.bias) == ("gelu_tanh", 512, False)
    assert config.norm == NormSpec(kind="layer", eps=1e-5, bias=False)


def test_sizes_that_are_not_given_follow_from_the_width():
    config = model(width=192)
    attention = config.layers[0].attention
    assert len(config.layers) == DEFAULT_DEPTH
    assert (attention.heads, attention.kv_heads, attention.head_width) == (3, 3, 64)
    assert config.layers[0].feed_forward.width == 512


def test_options_change_a_preset_and_a_depth():
    config = model(preset="tiny-gpt2", dropout=0.0, tied=False, positions="rotary", window=8)
    assert config.dropout == 0
    assert not config.tied
    assert not config.learned_positions
    assert {(layer.attention.rope_base, layer.attention.window) for layer in config.layers} == {(10_000.0, 8)}
    config = model(depth=2, bias=True, rope_base=5e5, norm_places="both", norm="layer", qk_norm=False)
    layer = config.layers[0]
    assert (layer.attention.bias, layer.attention.output_bias, layer.feed_forward.bias) == (True, True, True)
    assert (layer.attention.rope_base, layer.attention.qk_norm, layer.norm_places) == (5e5, False, "both")
    assert config.norm == NormSpec(kind="layer", eps=1e-5, bias=True)


def test_learned_positions_take_rotary_ones_and_their_scaling_away():
    config = model(preset="tiny-llama", positions="learned")
    assert config.learned_positions
    assert {(layer.attention.rope_base, layer.attention.rope_scaling) for layer in config.layers} == {(None, None)}
    assert model(depth=1, positions="none").layers[0].attention.rope_base is None


@pytest.mark.parametrize(("section", "message"), [
    ({"preset": "gpt2-124"}, r"unknown preset 'gpt2-124'; did you mean 'gpt2-124m'\? known: gpt2-124m, gpt2-355m"),
    ({"preset": "zzz"}, r"unknown preset 'zzz'; known: gpt2-124m"),
    ({"preset": "gpt2-124m", "depth": 3}, r"preset = gpt2-124m, depth = 3: give a preset, or a depth, or sizes"),
    ({"depth": 3, "width": 64}, r"depth = 3, width = 64: give a preset, or a depth, or sizes"),
    ({"heads": 3}, r"heads = 3 without a width; add model.width"),
    ({"positions": "learned", "rope_base": 5e4}, r"rope_base = 50000 needs rotary positions, not 'learned'"),
    ({"dept": 3}, r"unknown key 'dept'; did you mean 'depth'\?"),
    ({"width": 100, "heads": 3}, r"width 100 is not a multiple of heads 3"),
    ({"width": 64, "heads": 4, "kv_heads": 3}, r"model: .*heads 4 is not a multiple of kv_heads 3"),
    ({"width": 9, "heads": 3}, r"rotary positions turn pairs, but head_width 3 is odd"),
    ({"depth": 0}, r"depth = 0: input should be greater than 0"),
    ({"dropout": 1.5}, r"model: dropout = 1\.5: input should be less than 1"),
    ({"norm": "batch"}, r"norm = 'batch': input should be 'rms' or 'layer'")])
def test_bad_sections_say_what_was_seen_and_what_to_do(section, message):
    with pytest.raises(ConfigError, match=message):
        model(**section)
