"""OLMo 2 (arXiv:2501.00656) as Hugging Face stores it <-> ModelConfig and parameters: norms after each half of a block,
and QK-norms over all heads together."""

from typing import Any

from tohum.loading import llama
from tohum.loading.family import Family
from tohum.loading.keys import Keys
from tohum.loading.names import Table, same
from tohum.loading.rope import read_rope
from tohum.model.config import AttentionSpec, FeedForwardSpec, LayerSpec, ModelConfig, NormSpec

TABLE = Table(
    token=llama.TABLE.token, head=llama.TABLE.head, prefix=llama.TABLE.prefix, ignored=llama.TABLE.ignored,
    rules=(*(rule for rule in llama.TABLE.rules if "layernorm" not in rule.theirs),
           same("model.layers.{}.post_attention_layernorm.weight", "blocks.{}.attention_post_norm.weight"),
           same("model.layers.{}.post_feedforward_layernorm.weight", "blocks.{}.feed_forward_post_norm.weight"),
           same("model.layers.{}.self_attn.q_norm.weight", "blocks.{}.attention.query_norm.weight"),
           same("model.layers.{}.self_attn.k_norm.weight", "blocks.{}.attention.key_norm.weight")))


def read_config(keys: Keys) -> ModelConfig:
    """config.json -> ModelConfig; defaults are those of transformers."""
    width, heads = keys.integer("hidden_size", 4096), keys.integer("num_attention_heads", 32)
    context, layers = keys.integer("max_position_embeddings", 2048), keys.layers("num_hidden_layers", 32)
    base, scaling = read_rope(keys, context)
    biased = keys.flag("attention_bias", False)
    attention = AttentionSpec(heads=heads, kv_heads=keys.integer("num_key_value_heads", heads), rope_base=base,
                              head_width=keys.integer("head_dim", width // max(heads, 1)), rope_scaling=scaling,
                              qk_norm=True, qk_norm_across_heads=True, bias=biased, output_bias=biased)
    feed_forward = FeedForwardSpec(kind=keys.choice("hidden_act", llama.ACTIVATIONS, "silu"),
                                   width=keys.integer("intermediate_size", 11008))
    layer = LayerSpec(attention=attention, feed_forward=feed_forward, norm_places="post")
    return ModelConfig(vocab_size=keys.integer("vocab_size", 50304), width=width, context=context,
                       layers=(layer,) * layers, norm=NormSpec(kind="rms", eps=keys.number("rms_norm_eps", 1e-5)),
                       tied=keys.flag("tie_word_embeddings", False))


def write_config(config: ModelConfig) -> dict[str, Any] | None:
    """ModelConfig -> config.json, or None for sizes and layers that OLMo 2 has no key for."""
    attention, feed_forward = config.layers[0].attention, config.layers[0].feed_forward
    narrow = attention.head_width * attention.heads != config.width
    if narrow or feed_forward.kind not in llama.WRITTEN_ACTIVATIONS:
        return None
    return llama.shared_keys(config) | {"attention_bias": attention.bias}


FAMILY = Family(model_type="olmo2", architecture="Olmo2ForCausalLM", read=read_config, write=write_config,
                table=TABLE)
