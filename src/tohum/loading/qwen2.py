"""Qwen2 and Qwen2.5 (arXiv:2407.10671, 2412.15115) as Hugging Face stores them <-> ModelConfig, parameters: a Llama
with biases on query, key and value."""

from typing import Any

from tohum.loading import llama
from tohum.loading.family import Family
from tohum.loading.keys import Keys
from tohum.loading.qwen3 import layers_with_windows, read_windows, window_keys
from tohum.loading.rope import read_rope
from tohum.model.config import AttentionSpec, FeedForwardSpec, ModelConfig, NormSpec


def read_config(keys: Keys) -> ModelConfig:
    """config.json -> ModelConfig; defaults are those of transformers."""
    width, heads = keys.integer("hidden_size", 4096), keys.integer("num_attention_heads", 32)
    context, layers = keys.integer("max_position_embeddings", 32768), keys.layers("num_hidden_layers", 32)
    base, scaling = read_rope(keys, context)
    attention = AttentionSpec(heads=heads, kv_heads=keys.integer("num_key_value_heads", 32), rope_base=base,
                              head_width=keys.integer("head_dim", width // max(heads, 1)), rope_scaling=scaling,
                              bias=True)
    feed_forward = FeedForwardSpec(kind=keys.choice("hidden_act", llama.ACTIVATIONS, "silu"),
                                   width=keys.integer("intermediate_size", 22016))
    return ModelConfig(vocab_size=keys.integer("vocab_size", 151936), width=width, context=context,
                       layers=layers_with_windows(attention, feed_forward, read_windows(keys, layers)),
                       norm=NormSpec(kind="rms", eps=keys.number("rms_norm_eps", 1e-6)),
                       tied=keys.flag("tie_word_embeddings", False))


def write_config(config: ModelConfig) -> dict[str, Any] | None:
    """ModelConfig -> config.json, or None where Qwen2 would refuse the sizes or has no name."""
    layer = config.layers[0]
    narrow = layer.attention.head_width * layer.attention.heads != config.width  # it has no key for head_width
    if narrow or layer.feed_forward.kind not in llama.WRITTEN_ACTIVATIONS:
        return None
    return llama.shared_keys(config) | window_keys(config)


FAMILY = Family(model_type="qwen2", architecture="Qwen2ForCausalLM", read=read_config, write=write_config,
                table=llama.TABLE)
