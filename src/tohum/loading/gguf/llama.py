"""Llama and what llama.cpp keeps under its name (Mistral, SmolLM2, Mixtral), and SmolLM3 <-> ModelConfig, names."""

from typing import Any

from tohum.loading.gguf.architecture import Architecture
from tohum.loading.gguf.head import WINDOW, Head, shared_values
from tohum.loading.gguf.names import ATTENTION, GATED, NORMS, experts, neighbours, plain, table
from tohum.loading.names import Table
from tohum.model.config import ExpertsSpec, LayerSpec, ModelConfig

NO_ROPE_EVERY = 4  # layers; fixed in llama.cpp


def read_config(head: Head) -> ModelConfig:
    """The values of a file -> ModelConfig."""
    attention = head.attention(window=head.keys.optional(WINDOW) or None)
    hidden = head.feed_forward("swiglu", bias=head.has("ffn_gate.bias"), experts=read_experts(head))
    return head.config((LayerSpec(attention=attention, feed_forward=hidden),) * head.layers)


def read_experts(head: Head) -> ExpertsSpec | None:
    """A mixture of experts; llama.cpp lets the weights of the chosen ones add up to one."""
    count, chosen = (head.keys.integer(key, 0) for key in ("expert_count", "expert_used_count"))
    return ExpertsSpec(count=count, chosen=chosen) if count else None


def expert_values(config: ModelConfig) -> dict[str, Any]:
    """The values for it."""
    spec = config.layers[0].feed_forward.experts
    return {"expert_count": spec.count, "expert_used_count": spec.chosen} if spec else {}


def write_config(config: ModelConfig) -> dict[str, Any] | None:
    """ModelConfig -> values, or None: llama.cpp reads no window here."""
    layer = config.layers[0]
    if layer.attention.window or layer.attention.rope_base is None or layer.feed_forward.kind != "swiglu":
        return None
    return shared_values(config) | expert_values(config)


def names(config: ModelConfig) -> Table:
    """Names of tensors."""
    return table([*neighbours(config.layers[0].attention.head_width), *plain((*ATTENTION, *NORMS, *GATED)),
                  *experts(config)])


def read_smollm3(head: Head) -> ModelConfig:
    """The same, but every fourth layer has no rotary positions."""
    turned = head.attention()
    hidden = head.feed_forward("swiglu", bias=head.has("ffn_gate.bias"))
    still = turned.replace(rope_base=None, rope_factor=1.0)
    return head.config([LayerSpec(attention=turned if (number + 1) % NO_ROPE_EVERY else still, feed_forward=hidden)
                        for number in range(head.layers)])


def write_smollm3(config: ModelConfig) -> dict[str, Any] | None:
    """ModelConfig -> values, or None."""
    first = config.layers[0]
    plain_layer = first.attention.rope_scaling is None and not first.feed_forward.experts
    return shared_values(config) if plain_layer and first.feed_forward.kind == "swiglu" else None


LLAMA = Architecture(name="llama", read=read_config, write=write_config, table=names)
SMOLLM3 = Architecture(name="smollm3", read=read_smollm3, write=write_smollm3, table=names)
