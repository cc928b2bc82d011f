"""Gemma 2 (arXiv:2408.00118) as Hugging Face stores it <-> ModelConfig and parameters: norms on both sides, stored as
w for a factor 1 + w; capped scores and logits; a window in every other layer; token vectors times sqrt(D)."""

from collections.abc import Sequence
from typing import Any

from tohum.loading import llama
from tohum.loading.family import Family
from tohum.loading.keys import Keys
from tohum.loading.names import PLUS_ONE, Rule, Table
from tohum.loading.qwen3 import FULL, SLIDING, layer_types
from tohum.loading.rope import read_rope, write_rope
from tohum.model.config import AttentionSpec, FeedForwardSpec, LayerSpec, ModelConfig, NormSpec

NORMS = (("model.layers.{}.input_layernorm", "blocks.{}.attention_norm"),
         ("model.layers.{}.post_attention_layernorm", "blocks.{}.attention_post_norm"),
         ("model.layers.{}.pre_feedforward_layernorm", "blocks.{}.feed_forward_norm"),
         ("model.layers.{}.post_feedforward_layernorm", "blocks.{}.feed_forward_post_norm"),
         ("model.norm", "final_norm"))


def table(norms: Sequence[tuple[str, str]]) -> Table:
    """Llama's matrices with these norms, each stored as its distance from one."""
    return Table(token=llama.TABLE.token, head=llama.TABLE.head, prefix=llama.TABLE.prefix,
                 ignored=llama.TABLE.ignored,
                 rules=(*(rule for rule in llama.TABLE.rules if "norm" not in rule.theirs),
                        *(Rule(f"{theirs}.weight", (f"{ours}.weight",), PLUS_ONE) for theirs, ours in norms)))


ACTIVATIONS = {"gelu_pytorch_tanh": "geglu"}
HARMLESS = ("hidden_act", "cache_implementation")  # the activation is named by hidden_activation


def read_common(keys: Keys) -> tuple[AttentionSpec, FeedForwardSpec]:
    """What all layers of Gemma 2 and 3 share, positions aside."""
    keys.neutral("use_bidirectional_attention", None, False)
    biased = keys.flag("attention_bias", False)
    attention = AttentionSpec(heads=keys.integer("num_attention_heads", 8),
                              kv_heads=keys.integer("num_key_value_heads", 4),
                              head_width=keys.integer("head_dim", 256), bias=biased, output_bias=biased,
                              scale=keys.number("query_pre_attn_scalar", 256) ** -0.5)
    feed_forward = FeedForwardSpec(kind=keys.choice("hidden_activation", ACTIVATIONS, "gelu_pytorch_tanh"),
                                   width=keys.integer("intermediate_size", 9216))
    return attention, feed_forward


def cap(keys: Keys, key: str, default: float | None) -> float | None:
    """A soft-cap; null means none."""
    value = keys.given(key, default)
    return None if value is None else float(value)


def read_config(keys: Keys) -> ModelConfig:
    """config.json -> ModelConfig; defaults are those of transformers."""
    width, context = keys.integer("hidden_size", 2304), keys.integer("max_position_embeddings", 8192)
    layers = keys.layers("num_hidden_layers", 26)
    base, scaling = read_rope(keys, context)
    attention, feed_forward = read_common(keys)
    attention = attention.replace(rope_base=base, rope_scaling=scaling and scaling.model_dump(),
                                  soft_cap=cap(keys, "attn_logit_softcapping", 50.0))
    alternating = [SLIDING if number % 2 == 0 else FULL for number in range(layers)]
    windows = layer_types(keys, layers, keys.integer("sliding_window", 4096), alternating)
    specs = {window: LayerSpec(attention=attention.replace(window=window), feed_forward=feed_forward,
                               norm_places="both") for window in set(windows)}
    return ModelConfig(vocab_size=keys.integer("vocab_size", 256000), width=width, context=context,
                       layers=tuple(specs[window] for window in windows),
                       norm=NormSpec(kind="rms", eps=keys.number("rms_norm_eps", 1e-6)), embedding_scale=width**0.5,
                       logit_soft_cap=cap(keys, "final_logit_softcapping", 30.0),
                       tied=keys.flag("tie_word_embeddings", True))


def shared_keys(config: ModelConfig) -> dict[str, Any] | None:
    """Keys of Gemma 2 and 3 but for positions and caps, or None for models that they have no name for."""
    attention, feed_forward = config.layers[0].attention, config.layers[0].feed_forward
    if feed_forward.kind != "geglu" or attention.scale is None:
        return None
    common = llama.shared_keys(config)
    del common["hidden_act"]
    windows = [layer.attention.window for layer in config.layers]
    return common | {"hidden_activation": "gelu_pytorch_tanh", "attention_bias": attention.bias,
                     "query_pre_attn_scalar": round(attention.scale**-2),  # whole; another scale reads back differently
                     "sliding_window": next((window for window in windows if window), 4096),
                     "layer_types": [SLIDING if window else FULL for window in windows],
                     "attn_logit_softcapping": attention.soft_cap, "final_logit_softcapping": config.logit_soft_cap}


def write_config(config: ModelConfig) -> dict[str, Any] | None:
    """ModelConfig -> config.json, or None."""
    keys = shared_keys(config)
    return keys and keys | write_rope(config.layers[0].attention)


FAMILY = Family(model_type="gemma2", architecture="Gemma2ForCausalLM", read=read_config, write=write_config,
                table=table(NORMS), harmless=HARMLESS)
