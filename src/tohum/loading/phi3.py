"""Phi-3 (arXiv:2404.14219) as Hugging Face stores it <-> ModelConfig and parameters: a Llama whose query, key and
value are one matrix, and gate and up another."""


from tohum.errors import CheckpointError
from tohum.loading import llama
from tohum.loading.family import Family
from tohum.loading.keys import Keys
from tohum.loading.names import FUSED, Rule, Table
from tohum.loading.rope import read_rope
from tohum.model.config import AttentionSpec, FeedForwardSpec, LayerSpec, ModelConfig, NormSpec

SPLIT = ("self_attn.q_proj", "self_attn.k_proj", "self_attn.v_proj", "mlp.gate_proj", "mlp.up_proj")

TABLE = Table(
    token=llama.TABLE.token, head=llama.TABLE.head, prefix=llama.TABLE.prefix, ignored=llama.TABLE.ignored,
    rules=(*(rule for rule in llama.TABLE.rules if not any(part in rule.theirs for part in SPLIT)),
           Rule("model.layers.{}.self_attn.qkv_proj.weight",
                tuple(f"blocks.{{}}.attention.{part}.weight" for part in ("query", "key", "value")), FUSED),
           Rule("model.layers.{}.mlp.gate_up_proj.weight",
                tuple(f"blocks.{{}}.feed_forward.{part}.weight" for part in ("gate", "up")), FUSED)))

HARMLESS = ("original_max_position_embeddings", "embd_pdrop", "resid_pdrop")  # read only with stretched positions


def read_config(keys: Keys) -> ModelConfig:
    """config.json -> ModelConfig; defaults are those of transformers."""
    width, heads = keys.integer("hidden_size", 3072), keys.integer("num_attention_heads", 32)
    context, layers = keys.integer("max_position_embeddings", 4096), keys.layers("num_hidden_layers", 32)
    base, scaling = read_rope(keys, context)
    window = keys.optional("sliding_window")
    if window is not None and (isinstance(window, bool) or not isinstance(window, int)):
        raise CheckpointError(f"{keys.where}: sliding_window = {window!r}; expected a whole number or null")
    keys.neutral("attention_bias", False)
    attention = AttentionSpec(heads=heads, kv_heads=keys.integer("num_key_value_heads", heads), rope_base=base,
                              head_width=keys.integer("head_dim", width // max(heads, 1)), rope_scaling=scaling,
                              window=window)
    feed_forward = FeedForwardSpec(kind=keys.choice("hidden_act", llama.ACTIVATIONS, "silu"),
                                   width=keys.integer("intermediate_size", 8192))
    return ModelConfig(vocab_size=keys.integer("vocab_size", 32064), width=width, context=context,
                       layers=(LayerSpec(attention=attention, feed_forward=feed_forward),) * layers,
                       norm=NormSpec(kind="rms", eps=keys.number("rms_norm_eps", 1e-5)),
                       tied=keys.flag("tie_word_embeddings", False))


def write_config(config: ModelConfig) -> None:
    """Nothing is written as Phi-3: whatever it says, Llama or Mistral say too."""


FAMILY = Family(model_type="phi3", architecture="Phi3ForCausalLM", read=read_config, write=write_config,
                table=TABLE, harmless=HARMLESS)
