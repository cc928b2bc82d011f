"""The values of a GGUF file that all architectures share <-> parts of a ModelConfig.

    llama.attention.head_count = 9  ->  the key "attention.head_count" of a Head

A file says some things by the presence of tensors (biases, norms of queries and keys, a head of its own).
"""

import struct
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any, Literal

import torch
from torch import Tensor

from tohum.embedding.rotary import frequencies
from tohum.errors import CheckpointError
from tohum.gguf import GGUF
from tohum.loading.gguf.tensors import ROPE_FREQUENCIES, GGUFTensors
from tohum.loading.keys import Keys
from tohum.loading.names import Shape
from tohum.model.config import AttentionSpec, FeedForwardSpec, LayerSpec, ModelConfig, NormSpec, RopeScaling

RMS_EPS = "attention.layer_norm_rms_epsilon"
ORIGINAL_CONTEXT = "rope.scaling.original_context_length"
WINDOW, PERIOD = "attention.sliding_window", "attention.sliding_window_pattern"
LLAMA3_TURNS = (1.0, 4.0)  # where the stretching of published models begins and is complete
LLAMA3_CONTEXT = 8192  # theirs, for files whose factors leave it open

# Keys of an architecture that say nothing about the logits, or repeat what the tensors say.
HARMLESS = ("vocab_size", "attention.value_length", ORIGINAL_CONTEXT, "rope.scaling.finetuned",
            "attention.layer_norm_epsilon", "attention.key_length_swa", "attention.value_length_swa")


def shortest(value: float) -> float:
    """The shortest decimal that float32 stores as `value`: 1e-05, where the stored number is 9.999999747e-06."""
    for digits in range(6, 10):
        found = float(f"{value:.{digits}g}")
        if struct.pack("<f", found) == struct.pack("<f", value):
            return found
    return value


@dataclass(frozen=True, kw_only=True)
class Head:
    """What an architecture reads its configuration from."""

    keys: Keys  # of the architecture, without its name
    shapes: Mapping[str, Shape]
    factors: Tensor | None  # that rotary frequencies are divided by, (E/2,)
    width: int
    layers: int
    context: int
    heads: int

    @classmethod
    def of(cls, where: str, values: Mapping[str, Any], shapes: Mapping[str, Shape], factors: Tensor | None) -> "Head":
        """The head of a file. Raises CheckpointError for what every architecture must have."""
        architecture = values["general.architecture"]
        own = {key.removeprefix(f"{architecture}."): value for key, value in values.items()
               if key.startswith(f"{architecture}.")}
        keys = Keys({key: shortest(value) if isinstance(value, float) else value for key, value in own.items()},
                    f"{where}: {architecture}")
        if len(shapes.get("token_embd.weight", ())) != 2:
            raise CheckpointError(f"{where}: has no table token_embd.weight")
        return cls(keys=keys, shapes=shapes, factors=factors, width=keys.integer("embedding_length"),
                   layers=keys.layers("block_count", 0), context=keys.integer("context_length"),
                   heads=keys.integer("attention.head_count"))

    @classmethod
    def of_file(cls, gguf: GGUF) -> "Head":
        """The same of a file on disk."""
        stored = GGUFTensors(gguf, torch.float32)
        factors = stored.tensor(ROPE_FREQUENCIES) if ROPE_FREQUENCIES in gguf.tensors else None
        return cls.of(str(gguf.path), gguf.values, stored.shapes, factors)

    def has(self, part: str) -> bool:
        """Whether the first layer has a tensor."""
        return f"blk.0.{part}" in self.shapes

    def feed_forward(self, kind: Literal["swiglu", "geglu", "gelu_tanh"], **more: Any) -> FeedForwardSpec:
        """Feed-forward layers of the width that the file names."""
        return FeedForwardSpec(kind=kind, width=self.keys.integer("feed_forward_length"), **more)

    def config(self, layers: Sequence[LayerSpec], **more: Any) -> ModelConfig:
        """The whole model; the norm is RMSNorm unless told."""
        norm = more.pop("norm", None) or NormSpec(kind="rms", eps=self.keys.number(RMS_EPS))
        tied = "output.weight" not in self.shapes
        return ModelConfig(vocab_size=self.shapes["token_embd.weight"][0], width=self.width, context=self.context,
                           layers=tuple(layers), norm=norm, tied=tied, **more)

    def attention(self, **more: Any) -> AttentionSpec:
        """Heads, rotary positions, and what the presence of tensors says."""
        keys = self.keys
        head_width = keys.integer("attention.key_length", self.width // max(self.heads, 1))
        keys.neutral("rope.dimension_count", None, head_width)
        kind = keys.optional("rope.scaling.type")
        if kind not in (None, "none", "linear"):
            raise CheckpointError(f"{keys.where}: rope.scaling.type = {kind!r} is not something this network does; "
                                  "it knows none, linear")
        factor, base = keys.number("rope.scaling.factor", 1.0), keys.number("rope.freq_base", 10_000.0)
        found: dict[str, Any] = {
            "heads": self.heads, "kv_heads": keys.integer("attention.head_count_kv", self.heads),
            "head_width": head_width, "rope_base": base, "rope_factor": factor if kind == "linear" else 1.0,
            "rope_scaling": self.stretching(head_width, base), "qk_norm": self.has("attn_q_norm.weight"),
            "bias": self.has("attn_q.bias"), "output_bias": self.has("attn_output.bias")}
        return AttentionSpec(**(found | more))

    def windows(self, period: int) -> list[int | None]:
        """The window of each layer; unless the file says otherwise, every `period`-th has none."""
        window, pattern = self.keys.optional(WINDOW) or None, self.keys.optional(PERIOD)
        pattern = period if pattern is None else pattern
        flags = pattern if isinstance(pattern, list) else [
            bool((number + 1) % max(1, pattern)) for number in range(self.layers)]
        if isinstance(window, bool) or not isinstance(window, int | None) or len(flags) != self.layers:
            raise CheckpointError(f"{self.keys.where}: {WINDOW} = {str(window)[:60]} in a pattern of {len(flags)} "
                                  f"layers; expected a whole number and {self.layers} layers")
        return [window if flag else None for flag in flags]

    def stretching(self, head_width: int, base: float) -> RopeScaling | None:
        """Llama 3's, recovered from the factors that a file holds. Raises CheckpointError for others."""
        if self.factors is None:
            return None
        plain = frequencies(head_width, base)
        named = self.keys.integer(ORIGINAL_CONTEXT, LLAMA3_CONTEXT)
        for context in (named, original_context(plain, self.factors)):
            scaling = RopeScaling(factor=shortest(float(self.factors.max())), low_frequency_factor=LLAMA3_TURNS[0],
                                  high_frequency_factor=LLAMA3_TURNS[1], original_context=context)
            if self.factors.shape == plain.shape and torch.allclose(stretch_factors(head_width, base, scaling),
                                                                    self.factors, rtol=1e-4):
                return scaling
        raise CheckpointError(f"{self.keys.where}: {ROPE_FREQUENCIES} stretches rotary positions in a way that is not "
                              "known")


def stretch_factors(head_width: int, base: float, scaling: RopeScaling) -> Tensor:
    """What Llama 3's stretching divides each frequency by, (E/2,)."""
    plain = partial(frequencies, head_width, base)
    return plain() / plain(scaling)


def original_context(plain: Tensor, factors: Tensor) -> int:
    """The context that stretching started from, by a pair that is stretched in part (see rotary.stretched).

    A pair that makes t turns in that context keeps the share s = (t - low) / (high - low) of its frequency.
    """
    low, high = LLAMA3_TURNS
    most = float(factors.max())
    partly = (factors > 1.0001) & (factors < most * 0.9999) if factors.shape == plain.shape else None
    if partly is None or not partly.any():
        return LLAMA3_CONTEXT
    share = (1 / factors[partly] - 1 / most) / (1 - 1 / most)
    turns = low + share * (high - low)
    return max(1, round(float((turns * 2 * torch.pi / plain[partly]).median())))


def shared_values(config: ModelConfig) -> dict[str, Any]:
    """The values that all architectures write, for layers like the first."""
    attention = config.layers[0].attention
    values = {"context_length": config.context, "embedding_length": config.width, "block_count": len(config.layers),
              "feed_forward_length": config.layers[0].feed_forward.width, "attention.head_count": attention.heads,
              "attention.head_count_kv": attention.kv_heads, "attention.key_length": attention.head_width,
              "attention.value_length": attention.head_width, RMS_EPS: config.norm.eps,
              "vocab_size": config.vocab_size}
    return values | rotary_values(next((layer.attention for layer in config.layers if layer.attention.rope_base), None))


def rotary_values(attention: AttentionSpec | None) -> dict[str, Any]:
    """Rotary positions; none where no layer has them."""
    if attention is None or attention.rope_base is None:
        return {}
    values: dict[str, Any] = {"rope.freq_base": attention.rope_base, "rope.dimension_count": attention.head_width}
    if attention.rope_factor != 1:
        values |= {"rope.scaling.type": "linear", "rope.scaling.factor": attention.rope_factor}
    if attention.rope_scaling:  # llama.cpp computes from the factors; this is for reading them back
        values[ORIGINAL_CONTEXT] = attention.rope_scaling.original_context
    return values


def window_values(config: ModelConfig, period: int) -> dict[str, Any]:
    """Windows of layers, the pattern only where it is not the architecture's own."""
    windows = [layer.attention.window for layer in config.layers]
    used = next((window for window in windows if window), None)
    if used is None:
        return {}
    usual = [bool((number + 1) % period) for number in range(len(windows))]
    flags = [window is not None for window in windows]
    return {WINDOW: used, **({} if flags == usual else {PERIOD: flags})}
