"""Qwen2, Qwen3 and Qwen3 with experts as llama.cpp keeps them <-> ModelConfig and names."""

from typing import Any

from tohum.loading.gguf.architecture import Architecture
from tohum.loading.gguf.head import Head, shared_values
from tohum.loading.gguf.llama import expert_values, read_experts
from tohum.loading.gguf.names import ATTENTION, GATED, NORMS, QK_NORMS, TURNED, experts, plain, table
from tohum.loading.names import Table
from tohum.model.config import FeedForwardSpec, LayerSpec, ModelConfig


def read_config(head: Head) -> ModelConfig:
    """The values of a file -> ModelConfig."""
    layer = LayerSpec(attention=head.attention(), feed_forward=head.feed_forward("swiglu"))
    return head.config((layer,) * head.layers)


def write_config(config: ModelConfig) -> dict[str, Any] | None:
    """ModelConfig -> values, or None for what llama.cpp does not read here."""
    layer = config.layers[0]
    lacks = layer.attention.rope_scaling or layer.attention.window or layer.attention.rope_base is None
    return None if lacks or layer.feed_forward.kind != "swiglu" else shared_values(config)


def write_qwen2(config: ModelConfig) -> dict[str, Any] | None:
    """Qwen2 has biases and no norms of queries and keys."""
    attention = config.layers[0].attention
    fits = attention.bias and not attention.output_bias and not attention.qk_norm
    return write_config(config) if fits else None


def write_qwen3(config: ModelConfig) -> dict[str, Any] | None:
    """Qwen3 has the norms, and no biases."""
    attention, hidden = config.layers[0].attention, config.layers[0].feed_forward
    fits = attention.qk_norm and not attention.bias and not attention.output_bias and not hidden.experts
    return write_config(config) if fits else None


def read_moe(head: Head) -> ModelConfig:
    """Every layer has experts, whose width has a key of its own."""
    head.keys.optional("feed_forward_length")  # of layers without experts, which such a file does not have
    hidden = FeedForwardSpec(kind="swiglu", width=head.keys.integer("expert_feed_forward_length"),
                             experts=read_experts(head))
    return head.config((LayerSpec(attention=head.attention(), feed_forward=hidden),) * head.layers)


def write_moe(config: ModelConfig) -> dict[str, Any] | None:
    """Qwen3 with experts."""
    layer = config.layers[0]
    if not layer.feed_forward.experts or not layer.attention.qk_norm:
        return None
    values = write_config(config)
    return values and values | expert_values(config) | {"expert_feed_forward_length": layer.feed_forward.width}


def names(config: ModelConfig) -> Table:
    """Names of tensors."""
    return table([*plain((*TURNED, *ATTENTION, *NORMS, *QK_NORMS, *GATED)), *experts(config)])


QWEN2 = Architecture(name="qwen2", read=read_config, write=write_qwen2, table=names)
QWEN3 = Architecture(name="qwen3", read=read_config, write=write_qwen3, table=names)
QWEN3_MOE = Architecture(name="qwen3moe", read=read_moe, write=write_moe, table=names)
