"""Qwen3 with experts (arXiv:2505.09388) as Hugging Face stores it <-> ModelConfig and parameters."""

from typing import Any

from tohum.errors import CheckpointError
from tohum.loading import llama, qwen3
from tohum.loading.family import Family
from tohum.loading.keys import Keys
from tohum.loading.mixtral import HARMLESS, with_experts
from tohum.loading.rope import read_rope
from tohum.model.config import AttentionSpec, ExpertsSpec, FeedForwardSpec, LayerSpec, ModelConfig, NormSpec

PARTS = (("gate_proj", "gate"), ("up_proj", "up"), ("down_proj", "down"))
TABLE = with_experts("model.layers.{}.mlp.gate.weight", "model.layers.{}.mlp.experts.{}", PARTS, qwen3.TABLE.rules)


def read_config(keys: Keys) -> ModelConfig:
    """config.json -> ModelConfig; defaults are those of transformers."""
    width, heads = keys.integer("hidden_size", 2048), keys.integer("num_attention_heads", 32)
    context, layers = keys.integer("max_position_embeddings", 32768), keys.layers("num_hidden_layers", 24)
    base, scaling = read_rope(keys, context)
    biased, window = keys.flag("attention_bias", False), keys.optional("sliding_window")
    window = window if keys.flag("use_sliding_window", False) else None
    attention = AttentionSpec(heads=heads, kv_heads=keys.integer("num_key_value_heads", 4), rope_base=base,
                              head_width=keys.integer("head_dim", width // max(heads, 1)), rope_scaling=scaling,
                              qk_norm=True, bias=biased, output_bias=biased, window=window)
    kind, dense = keys.choice("hidden_act", llama.ACTIVATIONS, "silu"), keys.integer("intermediate_size", 6144)
    experts = ExpertsSpec(count=read_count(keys), chosen=keys.integer("num_experts_per_tok", 8),
                          normalised=keys.flag("norm_topk_prob", False))
    wide = FeedForwardSpec(kind=kind, width=dense)
    sparse = FeedForwardSpec(kind=kind, width=keys.integer("moe_intermediate_size", 768), experts=experts)
    specs = {flag: LayerSpec(attention=attention, feed_forward=sparse if flag else wide) for flag in (True, False)}
    return ModelConfig(vocab_size=keys.integer("vocab_size", 151936), width=width, context=context,
                       layers=tuple(specs[flag] for flag in sparse_layers(keys, layers)),
                       norm=NormSpec(kind="rms", eps=keys.number("rms_norm_eps", 1e-6)),
                       tied=keys.flag("tie_word_embeddings", False))


def read_count(keys: Keys) -> int:
    """The number of experts, under the name of transformers 4 or that of version 5."""
    names = [key for key in ("num_experts", "num_local_experts") if key in keys.left]
    return keys.integer(names[0] if names else "num_experts", 128)


def sparse_layers(keys: Keys, layers: int) -> list[bool]:
    """Which layers have experts. Raises CheckpointError."""
    step, dense = keys.integer("decoder_sparse_step", 1), keys.optional("mlp_only_layers") or []
    if step < 1 or not isinstance(dense, list):
        raise CheckpointError(f"{keys.where}: decoder_sparse_step = {step}, mlp_only_layers = {str(dense)[:60]}; "
                              "expected a number from 1 and a list of layers")
    return [number not in dense and (number + 1) % step == 0 for number in range(layers)]


def write_config(config: ModelConfig) -> dict[str, Any] | None:
    """ModelConfig -> config.json, or None for models without experts and for unnamed layers."""
    with_some = [layer.feed_forward for layer in config.layers if layer.feed_forward.experts]
    without = [layer.feed_forward for layer in config.layers if not layer.feed_forward.experts]
    if not with_some or with_some[0].kind not in llama.WRITTEN_ACTIVATIONS:
        return None
    experts, window = with_some[0].experts, config.layers[0].attention.window
    assert experts is not None
    dense = [number for number, layer in enumerate(config.layers) if not layer.feed_forward.experts]
    return llama.shared_keys(config) | {
        "intermediate_size": without[0].width if without else with_some[0].width,
        "attention_bias": config.layers[0].attention.bias, "use_sliding_window": window is not None,
        "sliding_window": window, "moe_intermediate_size": with_some[0].width, "num_experts": experts.count,
        "num_experts_per_tok": experts.chosen, "norm_topk_prob": experts.normalised, "decoder_sparse_step": 1,
        "mlp_only_layers": dense}


FAMILY = Family(model_type="qwen3_moe", architecture="Qwen3MoeForCausalLM", read=read_config, write=write_config,
                table=TABLE, harmless=HARMLESS)
