"""GGUF files -> ModelConfig and parameters: names of llama.cpp, quantised numbers written out in slices of rows.

Matrices are (out, in) as ours. In files of architecture "llama" the rows of query and key stand in the order of
neighbouring rotary pairs (see embedding/rotary.py); the others have them in the order of halves.
"""

from collections.abc import Mapping
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from tohum.embedding.rotary import frequencies
from tohum.errors import CheckpointError, ConfigError
from tohum.gguf import GGUF, StoredTensor, read_gguf
from tohum.loading.empty import empty_network
from tohum.loading.keys import Keys
from tohum.loading.llama2c import halves_from_neighbours
from tohum.loading.names import SAME, Rule, Shape, Table, Transform, read_parameters, same
from tohum.model.config import AttentionSpec, FeedForwardSpec, LayerSpec, ModelConfig, NormSpec, RopeScaling

SLICE_NUMBERS = 2**22  # written out at once: 16 MB in float32
PLAIN = {"F32": np.dtype("<f4"), "F16": np.dtype("<f2")}
LAYER_PARTS = (("attn_norm", "attention_norm"), ("ffn_norm", "feed_forward_norm"), ("attn_v", "attention.value"),
               ("attn_output", "attention.output"), ("attn_q_norm", "attention.query_norm"),
               ("attn_k_norm", "attention.key_norm"), ("ffn_gate", "feed_forward.gate"),
               ("ffn_up", "feed_forward.up"), ("ffn_down", "feed_forward.down"))
TURNED = (("attn_q", "attention.query"), ("attn_k", "attention.key"))  # matrices that rotary positions follow
PERMUTED = ("llama",)  # architectures whose TURNED rows are those of neighbouring pairs
ARCHITECTURES = ("llama", "qwen2", "qwen3")
ROPE_FREQUENCIES = "rope_freqs.weight"  # what Llama 3's stretching divides the frequencies by
LLAMA3_SCALINGS = tuple(RopeScaling(factor=factor, low_frequency_factor=1.0, high_frequency_factor=4.0,
                                    original_context=8192) for factor in (8.0, 32.0))

# Keys of an architecture that say nothing about the logits, or repeat what the tensors say.
HARMLESS = ("vocab_size", "attention.value_length", "rope.scaling.original_context_length",
            "rope.scaling.finetuned", "expert_count", "expert_used_count", "attention.layer_norm_epsilon")


class GGUFTensors:
    """The tensors of a file, each in memory of its own in `dtype` when it is asked for."""

    def __init__(self, gguf: GGUF, dtype: torch.dtype):
        self.where, self.gguf, self.dtype = str(gguf.path), gguf, dtype
        self.data = np.memmap(gguf.path, dtype=np.uint8, mode="r")

    @property
    def shapes(self) -> Mapping[str, Shape]:
        """Shape of every tensor but the rotary factors, which the configuration took."""
        return {name: stored.shape for name, stored in self.gguf.tensors.items() if name != ROPE_FREQUENCIES}

    def tensor(self, name: str) -> Tensor:
        """The numbers of a tensor. Raises ConfigError where the library that knows its type is not installed."""
        stored = self.gguf.tensors[name]
        made = torch.empty(stored.shape, dtype=self.dtype)
        flat = made.view(-1, stored.shape[-1])  # rows
        rows, step = len(flat), max(1, SLICE_NUMBERS // stored.shape[-1])
        for start in range(0, rows, step):
            end = min(rows, start + step)
            flat[start:end] = torch.from_numpy(self.rows(stored, start, end))
        return made

    def rows(self, stored: StoredTensor, start: int, end: int) -> np.ndarray:
        """Rows start..end-1 as float32 (n, columns)."""
        per_row = stored.bytes // (int(np.prod(stored.shape, dtype=object)) // stored.shape[-1])
        raw = np.array(self.data[stored.offset + start * per_row : stored.offset + end * per_row])
        if stored.type_name in PLAIN:
            return raw.view(PLAIN[stored.type_name]).astype(np.float32).reshape(end - start, -1)
        try:
            from gguf import GGMLQuantizationType
            from gguf.quants import dequantize
        except ImportError:
            raise ConfigError(f'{self.where}: reading numbers of type {stored.type_name} needs: '
                              f'pip install "tohum[gguf]"') from None
        return dequantize(raw.reshape(end - start, per_row), GGMLQuantizationType(stored.type))


def read_gguf_model(path: Path, dtype: torch.dtype = torch.float32) -> tuple[ModelConfig, dict[str, Tensor]]:
    """Configuration and parameters. Raises CheckpointError, ConfigError."""
    gguf = read_gguf(path)
    config = read_config(gguf)
    stored = GGUFTensors(gguf, dtype)
    shapes = {name: tuple(tensor.shape) for name, tensor in empty_network(config).state_dict().items()}
    table = table_for(gguf.values["general.architecture"], config.layers[0].attention.head_width)
    return config, dict(read_parameters(table, stored, len(config.layers), shapes))


def table_for(architecture: str, head_width: int) -> Table:
    """llama.cpp's names."""
    turned = halves(head_width) if architecture in PERMUTED else SAME
    rules = [Rule(f"blk.{{}}.{theirs}.{kind}", (f"blocks.{{}}.{ours}.{kind}",), turned)
             for theirs, ours in TURNED for kind in ("weight", "bias")]
    rules += [same(f"blk.{{}}.{theirs}.{kind}", f"blocks.{{}}.{ours}.{kind}")
              for theirs, ours in LAYER_PARTS for kind in ("weight", "bias")]
    return Table(token="token_embd.weight", head="output.weight",
                 rules=(*rules, same("token_embd.weight", "embedding.token.weight"),
                        same("output_norm.weight", "final_norm.weight"), same("output.weight", "head.weight")))


def halves(head_width: int) -> Transform:
    """Rows of neighbouring rotary pairs -> rows in the order of halves."""
    def read(stored: Tensor, shapes: Any) -> list[Tensor]:
        rows = stored.view(1, len(stored), -1)  # a bias is a matrix of one column
        return [halves_from_neighbours(rows, head_width).view(stored.shape)]

    def write(ours: Any) -> Tensor:
        rows = ours[0].view(-1, 2, head_width // 2, *ours[0].shape[1:])
        return rows.transpose(1, 2).reshape(ours[0].shape)

    return Transform(read=read, write=write, shape=lambda shapes: shapes[0])


def read_config(gguf: GGUF) -> ModelConfig:
    """The values of a file -> ModelConfig. Raises CheckpointError for what the network does not do."""
    architecture = gguf.values.get("general.architecture")
    if architecture not in ARCHITECTURES:
        raise CheckpointError(f"{gguf.path}: architecture {architecture!r} is not one that can be loaded; "
                              f"known are {', '.join(ARCHITECTURES)}")
    prefix = f"{architecture}."
    keys = Keys({key.removeprefix(prefix): value for key, value in gguf.values.items() if key.startswith(prefix)},
                f"{gguf.path}: {architecture}")
    table = gguf.tensors.get("token_embd.weight")
    if table is None or len(table.shape) != 2:
        raise CheckpointError(f"{gguf.path}: has no table token_embd.weight")
    width, heads = keys.integer("embedding_length"), keys.integer("attention.head_count")
    attention = read_attention(gguf, keys, width=width, heads=heads)
    keys.neutral("expert_count", None, 0)
    hidden = FeedForwardSpec(kind="swiglu", width=keys.integer("feed_forward_length"))
    layers = keys.layers("block_count", 0)
    config = ModelConfig(vocab_size=table.shape[0], width=width, context=keys.integer("context_length"),
                         layers=(LayerSpec(attention=attention, feed_forward=hidden),) * layers,
                         norm=NormSpec(kind="rms", eps=keys.number("attention.layer_norm_rms_epsilon")),
                         tied="output.weight" not in gguf.tensors)
    keys.finish(HARMLESS)
    return config


def read_attention(gguf: GGUF, keys: Keys, *, width: int, heads: int) -> AttentionSpec:
    """Heads, positions, and what the presence of tensors says."""
    head_width = keys.integer("attention.key_length", width // max(heads, 1))
    keys.neutral("rope.dimension_count", None, head_width)
    kind = keys.optional("rope.scaling.type")
    if kind not in (None, "none", "linear"):
        raise CheckpointError(f"{keys.where}: rope.scaling.type = {kind!r} is not something this network does; "
                              "it knows none, linear")
    factor = keys.number("rope.scaling.factor", 1.0)
    base, window = keys.number("rope.freq_base", 10_000.0), keys.optional("attention.sliding_window")
    return AttentionSpec(heads=heads, kv_heads=keys.integer("attention.head_count_kv", heads), head_width=head_width,
                         rope_base=base, rope_factor=factor if kind == "linear" else 1.0,
                         rope_scaling=read_stretch(gguf, head_width, base), window=window or None,
                         bias="blk.0.attn_q.bias" in gguf.tensors, qk_norm="blk.0.attn_q_norm.weight" in gguf.tensors,
                         output_bias="blk.0.attn_output.bias" in gguf.tensors)


def read_stretch(gguf: GGUF, head_width: int, base: float) -> RopeScaling | None:
    """Llama 3's stretching, recognised by the factors that a file holds. Raises CheckpointError for others."""
    stored = gguf.tensors.get(ROPE_FREQUENCIES)
    if stored is None:
        return None
    found = GGUFTensors(gguf, torch.float32).tensor(ROPE_FREQUENCIES)
    plain = partial(frequencies, head_width, base)
    for scaling in LLAMA3_SCALINGS:
        if found.shape == (head_width // 2,) and torch.allclose(plain() / plain(scaling), found, rtol=1e-4):
            return scaling
    raise CheckpointError(f"{gguf.path}: {ROPE_FREQUENCIES} stretches rotary positions in a way that is not known")
