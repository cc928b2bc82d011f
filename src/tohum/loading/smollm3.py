"""SmolLM3 (Hugging Face, 2025) as Hugging Face stores it <-> ModelConfig and parameters: a Llama in which every
fourth layer has no rotary positions (arXiv:2501.18795)."""

from typing import Any

from tohum.errors import CheckpointError
from tohum.loading import llama
from tohum.loading.family import Family
from tohum.loading.keys import Keys
from tohum.loading.qwen3 import FULL, SLIDING, layer_types
from tohum.loading.rope import read_rope
from tohum.model.config import AttentionSpec, FeedForwardSpec, LayerSpec, ModelConfig, NormSpec

DEFAULT_BASE = 2_000_000.0


def read_config(keys: Keys) -> ModelConfig:
    """config.json -> ModelConfig; defaults are those of transformers."""
    width, heads = keys.integer("hidden_size", 2048), keys.integer("num_attention_heads", 16)
    context, layers = keys.integer("max_position_embeddings", 32768), keys.layers("num_hidden_layers", 36)
    base, scaling = read_rope(keys, context, DEFAULT_BASE)
    biased = keys.flag("attention_bias", False)
    attention = AttentionSpec(heads=heads, kv_heads=keys.integer("num_key_value_heads", 4), bias=biased,
                              head_width=keys.integer("head_dim", width // max(heads, 1)), rope_base=base,
                              rope_scaling=scaling, output_bias=biased)
    feed_forward = FeedForwardSpec(kind=keys.choice("hidden_act", llama.ACTIVATIONS, "silu"),
                                   width=keys.integer("intermediate_size", 11008), bias=keys.flag("mlp_bias", False))
    rotary, windows = read_positions(keys, layers)
    specs = {key: LayerSpec(feed_forward=feed_forward, attention=attention.replace(
                 window=key[1], **({} if key[0] else {"rope_base": None, "rope_scaling": None})))
             for key in set(zip(rotary, windows, strict=True))}
    return ModelConfig(vocab_size=keys.integer("vocab_size", 128256), width=width, context=context,
                       layers=tuple(specs[key] for key in zip(rotary, windows, strict=True)),
                       norm=NormSpec(kind="rms", eps=keys.number("rms_norm_eps", 1e-6)),
                       tied=keys.flag("tie_word_embeddings", True))


def read_positions(keys: Keys, layers: int) -> tuple[list[bool], list[int | None]]:
    """Which layers have rotary positions, and the window of each. Raises CheckpointError."""
    interval, rotary = keys.integer("no_rope_layer_interval", 4), keys.optional("no_rope_layers")
    if interval < 1:
        raise CheckpointError(f"{keys.where}: no_rope_layer_interval = {interval}; expected at least 1")
    if rotary is None:
        rotary = [int((number + 1) % interval != 0) for number in range(layers)]
    if not isinstance(rotary, list) or len(rotary) < layers or any(value not in (0, 1) for value in rotary):
        raise CheckpointError(f"{keys.where}: no_rope_layers = {str(rotary)[:60]}; expected {layers} times 1 or 0")
    rotary = [bool(value) for value in rotary[:layers]]
    window = keys.optional("sliding_window")
    window = window if keys.flag("use_sliding_window", False) else None
    fallback = [SLIDING if window is not None and not turned else FULL for turned in rotary]
    return rotary, layer_types(keys, layers, window, fallback)


def write_config(config: ModelConfig) -> dict[str, Any] | None:
    """ModelConfig -> config.json, or None for models without any rotary layer and for unnamed layers."""
    first = next((layer for layer in config.layers if layer.attention.rope_base), None)
    narrow = config.layers[0].attention.head_width * config.layers[0].attention.heads != config.width
    if first is None or narrow or first.feed_forward.kind not in llama.WRITTEN_ACTIVATIONS:
        return None
    windows = [layer.attention.window for layer in config.layers]
    used = next((window for window in windows if window), None)
    return llama.shared_keys(config.replace(layers=(first,) * len(config.layers))) | {
        "attention_bias": first.attention.bias, "mlp_bias": first.feed_forward.bias,
        "no_rope_layers": [int(layer.attention.rope_base is not None) for layer in config.layers],
        "use_sliding_window": used is not None, "sliding_window": used,
        "layer_types": [SLIDING if window else FULL for window in windows]}


FAMILY = Family(model_type="smollm3", architecture="SmolLM3ForCausalLM", read=read_config, write=write_config,
                table=llama.TABLE)
