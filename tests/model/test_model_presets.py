"""Presets: published shapes, and no setting without a model that uses it."""

import importlib.util
import inspect
from typing import Literal, get_args, get_origin

import pytest
import torch
from torch import nn

from tohum.model.config import AttentionSpec, FeedForwardSpec, LayerSpec, ModelConfig, NormSpec, RopeScaling
from tohum.model.network import Network
from tohum.model.presets import PRESETS, from_depth

SPECS = (ModelConfig, LayerSpec, AttentionSpec, FeedForwardSpec, NormSpec, RopeScaling)


def every_spec(config):
    """All spec objects inside a model's configuration."""
    yield config
    yield config.norm
    for layer in config.layers:
        yield layer
        yield layer.attention
        yield layer.feed_forward
        if layer.attention.rope_scaling:
            yield layer.attention.rope_scaling


def values_in_use():
    """(class, field) -> the values that presets and the default family give it."""
    found = {}
    for config in [*(make() for make in PRESETS.values()), from_depth(2, 256, 64)]:
        for spec in every_spec(config):
            for field in type(spec).model_fields:
                found.setdefault((type(spec), field), set()).add(getattr(spec, field))
    return found


def families_source():
    """Text of the loading tables: a setting that a loader fills is in use too."""
    spec = importlib.util.find_spec("tohum.loading.families")
    if spec is None:
        return ""
    return "".join(inspect.getsource(importlib.import_module(f"tohum.loading.{name}"))
                   for name in ("gpt2", "llama", "qwen3"))


def test_every_setting_is_used_by_a_preset_or_a_family():
    found, source = values_in_use(), families_source()
    idle = [f"{kind.__name__}.{name}" for kind in SPECS for name, field in kind.model_fields.items()
            if not (found.get((kind, name), set()) - ({field.default} if not field.is_required() else set()))
            and f"{name}=" not in source]
    assert not idle, f"no preset and no family sets: {idle}"


def test_every_choice_is_used_by_a_preset():
    found = values_in_use()
    choices = [(kind, name, set(get_args(field.annotation))) for kind in SPECS
               for name, field in kind.model_fields.items() if get_origin(field.annotation) is Literal]
    assert len(choices) == 3
    assert {f"{kind.__name__}.{name} = {value}" for kind, name, wanted in choices
            for value in wanted - found[kind, name]} == set()


class BookAttention(nn.Module):
    """MultiHeadAttention of the book, chapter 3, without dropout."""

    def __init__(self, width, heads):
        super().__init__()
        self.heads = heads
        self.W_query, self.W_key, self.W_value = (nn.Linear(width, width, bias=False) for _ in range(3))
        self.out_proj = nn.Linear(width, width)

    def forward(self, x):
        rows, tokens, width = x.shape
        queries, keys, values = (layer(x).view(rows, tokens, self.heads, -1).transpose(1, 2)
                                 for layer in (self.W_query, self.W_key, self.W_value))
        scores = queries @ keys.transpose(2, 3)
        scores.masked_fill_(torch.triu(torch.ones(tokens, tokens), diagonal=1).bool(), -torch.inf)
        weights = torch.softmax(scores / keys.shape[-1] ** 0.5, dim=-1)
        return self.out_proj((weights @ values).transpose(1, 2).reshape(rows, tokens, width))


class BookNorm(nn.Module):
    """LayerNorm of the book, chapter 4."""

    def __init__(self, width):
        super().__init__()
        self.scale, self.shift = nn.Parameter(torch.ones(width)), nn.Parameter(torch.zeros(width))

    def forward(self, x):
        centred = x - x.mean(dim=-1, keepdim=True)
        return self.scale * centred / torch.sqrt(x.var(dim=-1, keepdim=True, unbiased=False) + 1e-5) + self.shift


def book_gelu(x):
    return 0.5 * x * (1 + torch.tanh((2.0 / torch.pi) ** 0.5 * (x + 0.044715 * x**3)))


def book_logits(network, ids):
    """The book's GPTModel, written with its own layers and filled from `network`."""
    x = network.embedding.token.weight[ids] + network.embedding.position.weight[: ids.shape[1]]
    for block in network.blocks:
        attention, norms = BookAttention(32, 4), [BookNorm(32), BookNorm(32)]
        for ours, theirs in ((block.attention.query, attention.W_query), (block.attention.key, attention.W_key),
                             (block.attention.value, attention.W_value), (block.attention.output, attention.out_proj)):
            theirs.load_state_dict(ours.state_dict())
        for ours, theirs in zip((block.attention_norm, block.feed_forward_norm), norms, strict=True):
            theirs.load_state_dict({"scale": ours.weight, "shift": ours.bias})
        x = x + attention(norms[0](x))
        x = x + block.feed_forward.down(book_gelu(block.feed_forward.up(norms[1](x))))
    final = BookNorm(32)
    final.load_state_dict({"scale": network.final_norm.weight, "shift": network.final_norm.bias})
    return final(x) @ network.head.weight.T


def test_gpt_config_124m_is_the_model_of_the_book():
    config = PRESETS["gpt-config-124m"]()
    layer = config.layers[0]
    assert (config.vocab_size, config.context, config.width, layer.attention.heads, len(config.layers), config.dropout,
            layer.attention.bias) == (50257, 1024, 768, 12, 12, 0.1, False)
    small = layer.replace(attention=layer.attention.replace(heads=4, kv_heads=4, head_width=8),
                          feed_forward=layer.feed_forward.replace(width=128))
    torch.manual_seed(0)
    network = Network(config.replace(vocab_size=100, width=32, context=256, layers=(small, small))).eval()
    for parameter in network.parameters():
        parameter.data += 0.1 * torch.randn_like(parameter)
    ids = torch.randint(100, (2, 256))
    with torch.no_grad():
        ours, theirs = network.logits(ids), book_logits(network, ids)
    assert ours.std() > 0.3
    torch.testing.assert_close(ours, theirs, rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("depth", [1, 2, 3, 8, 12])
def test_the_default_family_has_the_shape_of_qwen3(depth):
    config = from_depth(depth, 4096, 256)
    attention = config.layers[0].attention
    assert len(config.layers) == depth
    assert config.width == 64 * depth
    assert attention.heads * attention.head_width == config.width
    assert attention.qk_norm
    assert not attention.bias
    assert config.layers[0].feed_forward.kind == "swiglu"
    assert config.norm == NormSpec(kind="rms", eps=1e-6)
    assert config.layers[0].feed_forward.width % 64 == 0
    idle = (config.logit_soft_cap, attention.soft_cap, attention.window, attention.scale, config.learned_positions)
    assert idle == (None, None, None, None, False)
    assert config.embedding_scale == 1.0
