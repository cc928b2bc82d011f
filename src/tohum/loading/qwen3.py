"""Qwen3 (arXiv:2505.09388) as Hugging Face stores it <-> ModelConfig and parameters. Our default family."""

from collections.abc import Sequence
from typing import Any

from tohum.errors import CheckpointError
from tohum.loading import llama
from tohum.loading.family import Family
from tohum.loading.keys import Keys
from tohum.loading.names import Table, same
from tohum.loading.rope import read_rope
from tohum.model.config import AttentionSpec, FeedForwardSpec, LayerSpec, ModelConfig, NormSpec

TABLE = Table(
    token=llama.TABLE.token, head=llama.TABLE.head, prefix=llama.TABLE.prefix, ignored=llama.TABLE.ignored,
    rules=(*llama.TABLE.rules,
           same("model.layers.{}.self_attn.q_norm.weight", "blocks.{}.attention.query_norm.weight"),
           same("model.layers.{}.self_attn.k_norm.weight", "blocks.{}.attention.key_norm.weight")))

FULL, SLIDING = "full_attention", "sliding_attention"


def read_config(keys: Keys) -> ModelConfig:
    """config.json -> ModelConfig; defaults are those of transformers."""
    width, heads = keys.integer("hidden_size", 4096), keys.integer("num_attention_heads", 32)
    context, layers = keys.integer("max_position_embeddings", 32768), keys.layers("num_hidden_layers", 32)
    base, scaling = read_rope(keys, context)
    biased = keys.flag("attention_bias", False)
    attention = AttentionSpec(heads=heads, kv_heads=keys.integer("num_key_value_heads", heads),
                              head_width=keys.integer("head_dim", 128), rope_base=base, rope_scaling=scaling,
                              qk_norm=True, bias=biased, output_bias=biased)
    feed_forward = FeedForwardSpec(kind=keys.choice("hidden_act", llama.ACTIVATIONS, "silu"),
                                   width=keys.integer("intermediate_size", 22016))
    return ModelConfig(vocab_size=keys.integer("vocab_size", 151936), width=width, context=context,
                       layers=layers_with_windows(attention, feed_forward, read_windows(keys, layers)),
                       norm=NormSpec(kind="rms", eps=keys.number("rms_norm_eps", 1e-6)),
                       tied=keys.flag("tie_word_embeddings", False))


def layers_with_windows(attention: AttentionSpec, feed_forward: FeedForwardSpec,
                        windows: Sequence[int | None]) -> tuple[LayerSpec, ...]:
    """Layers that differ in their windows only."""
    specs = {window: LayerSpec(attention=attention.replace(window=window), feed_forward=feed_forward)
             for window in set(windows)}
    return tuple(specs[window] for window in windows)


def read_windows(keys: Keys, layers: int) -> list[int | None]:
    """The window of each layer in tokens; None: all before it."""
    window = keys.optional("sliding_window")
    first = keys.integer("max_window_layers", 28)
    if not keys.flag("use_sliding_window", False):
        window = None
    return layer_types(keys, layers, window, [SLIDING if window and number >= first else FULL
                                              for number in range(layers)])


def layer_types(keys: Keys, layers: int, window: Any, fallback: list[str]) -> list[int | None]:
    """`layer_types` -> the window of each layer; without the key, those of `fallback`. Raises CheckpointError."""
    types = keys.optional("layer_types")
    if types is None:
        types = fallback
    known = isinstance(types, list) and all(kind in (FULL, SLIDING) for kind in types)
    if not known or len(types) != layers:
        raise CheckpointError(f"{keys.where}: layer_types = {str(types)[:60]}; expected {layers} times "
                              f"'{FULL}' or '{SLIDING}'")
    if SLIDING in types and (isinstance(window, bool) or not isinstance(window, int)):
        raise CheckpointError(f"{keys.where}: layer_types has '{SLIDING}', but no sliding_window is in use")
    return [window if kind == SLIDING else None for kind in types]


def write_config(config: ModelConfig) -> dict[str, Any] | None:
    """ModelConfig -> config.json, or None for feed-forward layers that Qwen3 has no name for."""
    attention = config.layers[0].attention
    if config.layers[0].feed_forward.kind not in llama.WRITTEN_ACTIVATIONS:
        return None
    return llama.shared_keys(config) | {"attention_bias": attention.bias} | window_keys(config)


def window_keys(config: ModelConfig) -> dict[str, Any]:
    """How Qwen2 and Qwen3 say which layers have a window."""
    windows = [layer.attention.window for layer in config.layers]
    used = next((window for window in windows if window), None)
    return {"use_sliding_window": used is not None, "sliding_window": used,
            "max_window_layers": next((number for number, window in enumerate(windows) if window), len(windows)),
            "layer_types": [SLIDING if window else FULL for window in windows]}


FAMILY = Family(model_type="qwen3", architecture="Qwen3ForCausalLM", read=read_config, write=write_config,
                table=TABLE)
