"""Llama 2 and 3 (arXiv:2307.09288, 2407.21783) as Hugging Face stores them <-> ModelConfig, parameters."""

from typing import Any

from tohum.loading.family import Family
from tohum.loading.keys import Keys
from tohum.loading.names import Table, same
from tohum.loading.rope import read_rope, write_rope
from tohum.model.config import AttentionSpec, FeedForwardSpec, LayerSpec, ModelConfig, NormSpec

PROJECTIONS = (("self_attn.q_proj", "attention.query"), ("self_attn.k_proj", "attention.key"),
               ("self_attn.v_proj", "attention.value"), ("self_attn.o_proj", "attention.output"),
               ("mlp.gate_proj", "feed_forward.gate"), ("mlp.up_proj", "feed_forward.up"),
               ("mlp.down_proj", "feed_forward.down"))

TABLE = Table(
    token="model.embed_tokens.weight", head="lm_head.weight", prefix="model.",
    ignored=(".rotary_emb.inv_freq",),  # the rotary frequencies, stored by old versions
    rules=(
        same("model.embed_tokens.weight", "embedding.token.weight"),
        same("model.layers.{}.input_layernorm.weight", "blocks.{}.attention_norm.weight"),
        same("model.layers.{}.post_attention_layernorm.weight", "blocks.{}.feed_forward_norm.weight"),
        *(same(f"model.layers.{{}}.{theirs}.{kind}", f"blocks.{{}}.{ours}.{kind}")
          for theirs, ours in PROJECTIONS for kind in ("weight", "bias")),
        same("model.norm.weight", "final_norm.weight"),
        same("lm_head.weight", "head.weight"),
    ))

ACTIVATIONS = {"silu": "swiglu", "swish": "swiglu", "gelu_pytorch_tanh": "geglu", "gelu_new": "geglu"}
WRITTEN_ACTIVATIONS = {"swiglu": "silu", "geglu": "gelu_pytorch_tanh"}


def read_config(keys: Keys) -> ModelConfig:
    """config.json -> ModelConfig; defaults are those of transformers."""
    width, heads = keys.integer("hidden_size", 4096), keys.integer("num_attention_heads", 32)
    context, layers = keys.integer("max_position_embeddings", 2048), keys.layers("num_hidden_layers", 32)
    base, scaling = read_rope(keys, context)
    biased = keys.flag("attention_bias", False)
    attention = AttentionSpec(heads=heads, kv_heads=keys.integer("num_key_value_heads", heads),
                              head_width=keys.integer("head_dim", width // max(heads, 1)), rope_base=base,
                              rope_scaling=scaling, bias=biased, output_bias=biased)
    feed_forward = FeedForwardSpec(kind=keys.choice("hidden_act", ACTIVATIONS, "silu"),
                                   width=keys.integer("intermediate_size", 11008),
                                   bias=keys.flag("mlp_bias", False))
    return ModelConfig(vocab_size=keys.integer("vocab_size", 32000), width=width, context=context,
                       layers=(LayerSpec(attention=attention, feed_forward=feed_forward),) * layers,
                       norm=NormSpec(kind="rms", eps=keys.number("rms_norm_eps", 1e-6)),
                       tied=keys.flag("tie_word_embeddings", False))


def write_config(config: ModelConfig) -> dict[str, Any] | None:
    """ModelConfig -> config.json, or None where transformers' Llama would refuse the sizes."""
    attention, feed_forward = config.layers[0].attention, config.layers[0].feed_forward
    if config.width % attention.heads or feed_forward.kind not in WRITTEN_ACTIVATIONS:
        return None
    return shared_keys(config) | {"attention_bias": attention.bias, "mlp_bias": feed_forward.bias}


def shared_keys(config: ModelConfig) -> dict[str, Any]:
    """The keys that Llama has in common with its descendants."""
    attention, feed_forward = config.layers[0].attention, config.layers[0].feed_forward
    return {"vocab_size": config.vocab_size, "hidden_size": config.width,
            "intermediate_size": feed_forward.width, "num_hidden_layers": len(config.layers),
            "num_attention_heads": attention.heads,
            "num_key_value_heads": attention.kv_heads, "head_dim": attention.head_width,
            "hidden_act": WRITTEN_ACTIVATIONS[feed_forward.kind], "max_position_embeddings": config.context,
            "rms_norm_eps": config.norm.eps, "tie_word_embeddings": config.tied, "attention_dropout": 0.0,
            **write_rope(attention)}


FAMILY = Family(model_type="llama", architecture="LlamaForCausalLM", read=read_config, write=write_config,
                table=TABLE)
