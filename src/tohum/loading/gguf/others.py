"""GPT-2, OLMo 2 and Phi-3 as llama.cpp keeps them <-> ModelConfig and names."""

from typing import Any

from tohum.loading.gguf.architecture import Architecture
from tohum.loading.gguf.head import RMS_EPS, WINDOW, Head, shared_values
from tohum.loading.gguf.names import ATTENTION, GATED, KINDS, NORMS, POST_NORMS, QK_NORMS, TURNED, plain, table
from tohum.loading.names import FUSED, Rule, Table, same
from tohum.model.config import AttentionSpec, LayerSpec, ModelConfig, NormSpec

QKV = tuple(f"blocks.{{}}.attention.{part}" for part in ("query", "key", "value"))
EPS = "attention.layer_norm_epsilon"


def fused(kind: str) -> Rule:
    """Query, key and value in one tensor."""
    return Rule(f"blk.{{}}.attn_qkv.{kind}", tuple(f"{part}.{kind}" for part in QKV), FUSED)


def read_gpt2(head: Head) -> ModelConfig:
    """GPT-2 has learned positions, biases everywhere, and no keys for any of it."""
    head.keys.neutral("attention.head_count_kv", None, head.heads)
    attention = AttentionSpec(heads=head.heads, kv_heads=head.heads, head_width=head.width // max(head.heads, 1),
                              bias=True, output_bias=True)
    layer = LayerSpec(attention=attention, feed_forward=head.feed_forward("gelu_tanh", bias=True))
    return head.config((layer,) * head.layers, learned_positions=True,
                       norm=NormSpec(kind="layer", eps=head.keys.number(EPS), bias=True))


def write_gpt2(config: ModelConfig) -> dict[str, Any] | None:
    """ModelConfig -> values, or None for models without learned positions."""
    if not config.learned_positions:
        return None
    values = shared_values(config)
    for key in (RMS_EPS, "attention.key_length", "attention.value_length"):
        del values[key]
    return values | {EPS: config.norm.eps}


def gpt2_names(config: ModelConfig) -> Table:
    """Names of tensors."""
    return table([same("position_embd.weight", "embedding.position.weight"), *map(fused, KINDS),
                  *plain((ATTENTION[1], *NORMS, *GATED[1:]))])


def read_olmo2(head: Head) -> ModelConfig:
    """OLMo 2: norms behind each half of a block, those of queries and keys over all heads together."""
    layer = LayerSpec(attention=head.attention(qk_norm=True, qk_norm_across_heads=True),
                      feed_forward=head.feed_forward("swiglu"), norm_places="post")
    return head.config((layer,) * head.layers)


def write_olmo2(config: ModelConfig) -> dict[str, Any] | None:
    """ModelConfig -> values, or None: llama.cpp wants a head of its own, and reads no biases."""
    attention = config.layers[0].attention
    lacks = attention.rope_scaling or attention.bias or attention.rope_base is None
    return None if lacks or config.tied or not attention.qk_norm_across_heads else shared_values(config)


def olmo2_names(config: ModelConfig) -> Table:
    """Names of tensors."""
    return table(plain((*TURNED, *ATTENTION, *QK_NORMS, *POST_NORMS, *GATED)))


def read_phi3(head: Head) -> ModelConfig:
    """Phi-3: a Llama with two fused matrices. Its long variants hold rotary factors, which are refused by name."""
    attention = head.attention(window=head.keys.optional(WINDOW) or None)
    return head.config((LayerSpec(attention=attention, feed_forward=head.feed_forward("swiglu")),) * head.layers)


def phi3_names(config: ModelConfig) -> Table:
    """Names of tensors."""
    gate_up = tuple(f"blocks.{{}}.feed_forward.{part}.weight" for part in ("gate", "up"))
    return table([fused("weight"), Rule("blk.{}.ffn_up.weight", gate_up, FUSED),
                  *plain((ATTENTION[1], *NORMS, GATED[2]))])


GPT2 = Architecture(name="gpt2", read=read_gpt2, write=write_gpt2, table=gpt2_names)
OLMO2 = Architecture(name="olmo2", read=read_olmo2, write=write_olmo2, table=olmo2_names)
# Nothing is written as Phi-3: whatever it says, Llama says too.
PHI3 = Architecture(name="phi3", read=read_phi3, write=lambda config: None, table=phi3_names)
