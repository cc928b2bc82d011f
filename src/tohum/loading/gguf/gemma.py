"""Gemma 2 and Gemma 3 text models as llama.cpp keeps them <-> ModelConfig and names. Their norms are stored as the
factor itself, as ours."""

from typing import Any

from tohum.loading.gguf.architecture import Architecture
from tohum.loading.gguf.head import Head, shared_values, window_values
from tohum.loading.gguf.names import ATTENTION, GATED, NORMS, POST_NORMS, QK_NORMS, TURNED, plain, table
from tohum.loading.names import Table
from tohum.model.config import LayerSpec, ModelConfig

GEMMA2_PERIOD, GEMMA3_PERIOD = 2, 6  # layers; every such one sees everything before it
GEMMA2_LARGEST, GEMMA3_LARGEST = 46, 62  # layers of the models whose scores are scaled by another width
ATTENTION_CAP, FINAL_CAP, LOCAL_BASE = "attn_logit_softcapping", "final_logit_softcapping", "rope.freq_base_swa"


def scale(head_width: int, width: int, heads: int, *, largest: bool) -> float:
    """Of the scores: llama.cpp knows it by the number of layers."""
    return (width // max(heads, 1) if largest else head_width) ** -0.5


def read_gemma2(head: Head) -> ModelConfig:
    """The values of a file -> ModelConfig."""
    caps = {"soft_cap": head.keys.number(ATTENTION_CAP, 50.0)}
    final = head.keys.number(FINAL_CAP, 30.0)
    attention = head.attention(**caps)
    attention = attention.replace(scale=scale(attention.head_width, head.width, head.heads,
                                              largest=head.layers == GEMMA2_LARGEST))
    hidden = head.feed_forward("geglu")
    return head.config([LayerSpec(attention=attention.replace(window=window), feed_forward=hidden, norm_places="both")
                        for window in head.windows(GEMMA2_PERIOD)],
                       embedding_scale=head.width**0.5, logit_soft_cap=final)


def read_gemma3(head: Head) -> ModelConfig:
    """The values of a file -> ModelConfig. Layers with a window have a rotary base of their own, and no scaling."""
    wide = head.attention()
    wide = wide.replace(scale=scale(wide.head_width, head.width, head.heads, largest=head.layers == GEMMA3_LARGEST))
    base = head.keys.number(LOCAL_BASE, 10_000.0)
    hidden = head.feed_forward("geglu")
    layers = [LayerSpec(attention=wide.replace(window=window, rope_base=base, rope_factor=1.0) if window else wide,
                        feed_forward=hidden, norm_places="both") for window in head.windows(GEMMA3_PERIOD)]
    return head.config(layers, embedding_scale=head.width**0.5, logit_soft_cap=head.keys.optional(FINAL_CAP))


def write_gemma2(config: ModelConfig) -> dict[str, Any] | None:
    """ModelConfig -> values, or None without the caps, which llama.cpp always applies."""
    attention = config.layers[0].attention
    if not config.tied or attention.soft_cap is None or config.logit_soft_cap is None:
        return None
    return shared_values(config) | window_values(config, GEMMA2_PERIOD) | {
        ATTENTION_CAP: attention.soft_cap, FINAL_CAP: config.logit_soft_cap}


def write_gemma3(config: ModelConfig) -> dict[str, Any] | None:
    """ModelConfig -> values, or None."""
    wide = next((layer.attention for layer in config.layers if not layer.attention.window), None)
    local = next((layer.attention for layer in config.layers if layer.attention.window), wide)
    if not config.tied or wide is None or local is None or not wide.qk_norm or config.logit_soft_cap is not None:
        return None
    first = config.layers[0].replace(attention=wide)
    return shared_values(config.replace(layers=(first,) * len(config.layers))) | window_values(config, GEMMA3_PERIOD) \
        | ({LOCAL_BASE: local.rope_base} if local is not wide else {})


def names(config: ModelConfig) -> Table:
    """Names of tensors."""
    return table(plain((*TURNED, *ATTENTION, *NORMS, *POST_NORMS, *QK_NORMS, *GATED)))


GEMMA2 = Architecture(name="gemma2", read=read_gemma2, write=write_gemma2, table=names)
GEMMA3 = Architecture(name="gemma3", read=read_gemma3, write=write_gemma3, table=names)
