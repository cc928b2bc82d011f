"""Mistral (arXiv:2310.06825) as Hugging Face stores it <-> ModelConfig and parameters: a Llama with a window."""

from typing import Any

from tohum.errors import CheckpointError
from tohum.loading import llama
from tohum.loading.family import Family
from tohum.loading.keys import Keys
from tohum.loading.rope import DEFAULT_BASE, read_rope
from tohum.model.config import AttentionSpec, FeedForwardSpec, LayerSpec, ModelConfig, NormSpec

DEFAULT_WINDOW = 4096  # what transformers takes where the key is absent; null means none


def read_attention(keys: Keys, *, width: int, context: int, window: Any,
                   default_base: float = DEFAULT_BASE) -> AttentionSpec:
    """The keys that Mistral and Mixtral share."""
    heads = keys.integer("num_attention_heads", 32)
    if window is not None and (isinstance(window, bool) or not isinstance(window, int)):
        raise CheckpointError(f"{keys.where}: sliding_window = {window!r}; expected a whole number or null")
    base, scaling = read_rope(keys, context, default_base)
    return AttentionSpec(heads=heads, kv_heads=keys.integer("num_key_value_heads", 8), rope_base=base,
                         head_width=keys.integer("head_dim", width // max(heads, 1)), rope_scaling=scaling,
                         window=window)


def read_config(keys: Keys) -> ModelConfig:
    """config.json -> ModelConfig; defaults are those of transformers."""
    width, layers = keys.integer("hidden_size", 4096), keys.layers("num_hidden_layers", 32)
    context = keys.integer("max_position_embeddings", 131072)
    attention = read_attention(keys, width=width, context=context, window=keys.given("sliding_window", DEFAULT_WINDOW))
    feed_forward = FeedForwardSpec(kind=keys.choice("hidden_act", llama.ACTIVATIONS, "silu"),
                                   width=keys.integer("intermediate_size", 14336))
    return ModelConfig(vocab_size=keys.integer("vocab_size", 32000), width=width, context=context,
                       layers=(LayerSpec(attention=attention, feed_forward=feed_forward),) * layers,
                       norm=NormSpec(kind="rms", eps=keys.number("rms_norm_eps", 1e-6)),
                       tied=keys.flag("tie_word_embeddings", False))


def write_config(config: ModelConfig) -> dict[str, Any] | None:
    """ModelConfig -> config.json, or None for feed-forward layers that Mistral has no name for."""
    layer = config.layers[0]
    if layer.feed_forward.kind not in llama.WRITTEN_ACTIVATIONS:
        return None
    return llama.shared_keys(config) | {"sliding_window": layer.attention.window}


FAMILY = Family(model_type="mistral", architecture="MistralForCausalLM", read=read_config, write=write_config,
                table=llama.TABLE)
