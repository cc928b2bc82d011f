"""GPT-2 (OpenAI, 2019) as Hugging Face stores it <-> ModelConfig and parameters."""

from typing import Any

from tohum.loading.family import Family
from tohum.loading.keys import Keys
from tohum.loading.names import FUSED, FUSED_TRANSPOSED, TRANSPOSED, Rule, Table, same
from tohum.model.config import AttentionSpec, FeedForwardSpec, LayerSpec, ModelConfig, NormSpec

QKV = tuple(f"blocks.{{}}.attention.{part}" for part in ("query", "key", "value"))

TABLE = Table(
    token="transformer.wte.weight", head="lm_head.weight", prefix="transformer.",
    ignored=(".attn.bias", ".attn.masked_bias"),  # the causal mask, stored by old versions
    rules=(
        same("transformer.wte.weight", "embedding.token.weight"),
        same("transformer.wpe.weight", "embedding.position.weight"),
        same("transformer.h.{}.ln_1.weight", "blocks.{}.attention_norm.weight"),
        same("transformer.h.{}.ln_1.bias", "blocks.{}.attention_norm.bias"),
        Rule("transformer.h.{}.attn.c_attn.weight", tuple(f"{part}.weight" for part in QKV),
             FUSED_TRANSPOSED),
        Rule("transformer.h.{}.attn.c_attn.bias", tuple(f"{part}.bias" for part in QKV), FUSED),
        Rule("transformer.h.{}.attn.c_proj.weight", ("blocks.{}.attention.output.weight",), TRANSPOSED),
        same("transformer.h.{}.attn.c_proj.bias", "blocks.{}.attention.output.bias"),
        same("transformer.h.{}.ln_2.weight", "blocks.{}.feed_forward_norm.weight"),
        same("transformer.h.{}.ln_2.bias", "blocks.{}.feed_forward_norm.bias"),
        Rule("transformer.h.{}.mlp.c_fc.weight", ("blocks.{}.feed_forward.up.weight",), TRANSPOSED),
        same("transformer.h.{}.mlp.c_fc.bias", "blocks.{}.feed_forward.up.bias"),
        Rule("transformer.h.{}.mlp.c_proj.weight", ("blocks.{}.feed_forward.down.weight",), TRANSPOSED),
        same("transformer.h.{}.mlp.c_proj.bias", "blocks.{}.feed_forward.down.bias"),
        same("transformer.ln_f.weight", "final_norm.weight"),
        same("transformer.ln_f.bias", "final_norm.bias"),
        same("lm_head.weight", "head.weight"),
    ))

ACTIVATIONS = {"gelu_new": "gelu_tanh", "gelu_pytorch_tanh": "gelu_tanh"}
HARMLESS = ("n_ctx", "summary_type", "summary_use_proj", "summary_activation", "summary_proj_to_labels",
            "summary_first_dropout", "summary_hidden_size", "reorder_and_upcast_attn")


def read_config(keys: Keys) -> ModelConfig:
    """config.json -> ModelConfig; defaults are those of transformers."""
    width, heads, layers = keys.integer("n_embd", 768), keys.integer("n_head", 12), keys.layers("n_layer", 12)
    keys.neutral("scale_attn_by_inverse_layer_idx", False)
    scale = None if keys.flag("scale_attn_weights", True) else 1.0
    attention = AttentionSpec(heads=heads, kv_heads=heads, head_width=width // max(heads, 1), bias=True,
                              output_bias=True, scale=scale)
    feed_forward = FeedForwardSpec(kind=keys.choice("activation_function", ACTIVATIONS, "gelu_new"),
                                   width=keys.integer("n_inner", 4 * width), bias=True)
    rates = {keys.number(key, 0.1) for key in ("resid_pdrop", "embd_pdrop")}
    return ModelConfig(vocab_size=keys.integer("vocab_size", 50257), width=width,
                       context=keys.integer("n_positions", 1024),
                       layers=(LayerSpec(attention=attention, feed_forward=feed_forward),) * layers,
                       norm=NormSpec(kind="layer", eps=keys.number("layer_norm_epsilon", 1e-5), bias=True),
                       learned_positions=True, tied=keys.flag("tie_word_embeddings", True),
                       attention_dropout=keys.number("attn_pdrop", 0.1),
                       dropout=rates.pop() if len(rates) == 1 else 0.0)  # we have one rate for both


def write_config(config: ModelConfig) -> dict[str, Any]:
    """ModelConfig -> config.json; what it cannot say, the comparison after reading it back finds."""
    layer = config.layers[0]
    rate = config.dropout
    return {"vocab_size": config.vocab_size, "n_positions": config.context, "n_embd": config.width,
            "n_layer": len(config.layers), "n_head": layer.attention.heads,
            "n_inner": layer.feed_forward.width, "activation_function": "gelu_new",
            "layer_norm_epsilon": config.norm.eps,
            "scale_attn_weights": layer.attention.scale is None, "tie_word_embeddings": config.tied,
            "resid_pdrop": rate, "embd_pdrop": rate, "attn_pdrop": config.attention_dropout}


FAMILY = Family(model_type="gpt2", architecture="GPT2LMHeadModel", read=read_config, write=write_config,
                table=TABLE, harmless=HARMLESS)
