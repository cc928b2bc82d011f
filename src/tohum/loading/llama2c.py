"""llama2.c: one binary file (version 0, float32) -> ModelConfig and parameters.

    7 int32     width, feed-forward width, layers, heads, kv_heads, vocabulary, context
    float32     token table, then for all layers at once: attention norms, query, key, value, output,
                feed-forward norms, gate, down, up; then final norm, two tables of rotary angles, head

(github.com/karpathy/llama2.c, run.c and export.py.) A negative vocabulary means that there is a head; else it is
tied. Matrices are (out, in) as ours. Only the rows of query and key are in the order of neighbouring rotary
pairs; they are moved to the order of halves (see embedding/rotary.py).
"""

import struct
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from tohum.errors import CheckpointError
from tohum.model.config import AttentionSpec, FeedForwardSpec, LayerSpec, ModelConfig, NormSpec

HEADER = struct.Struct("<7i")
MAGIC = 0x616B3432  # "ak42": files of version 1 and 2 begin so
NORM_EPS, ROPE_BASE = 1e-5, 10_000.0  # fixed in run.c
MAX_LAYERS = 10_000


def read_llama2c(path: Path) -> tuple[ModelConfig, dict[str, Tensor]]:
    """Read a file. Its size is held against its header first. Raises CheckpointError."""
    config = read_header(path)
    shapes = blocks(config)
    values = np.memmap(path, dtype="<f4", mode="r", offset=HEADER.size)
    weights, start = {}, 0
    for name, shape in shapes:
        size = int(np.prod(shape))
        if name:
            part = torch.from_numpy(np.array(values[start:start + size], dtype=np.float32).reshape(shape))
            weights |= parameters_of(name, part, config)
        start += size
    return config, weights


def read_header(path: Path) -> ModelConfig:
    """The configuration, after checking that the file is as long as it says. Raises CheckpointError."""
    size = path.stat().st_size
    with open(path, "rb") as file:
        head = file.read(HEADER.size)
    if len(head) < HEADER.size:
        raise CheckpointError(f"{path}: {size} bytes; too short for the header of a llama2.c file")
    if struct.unpack_from("<I", head)[0] == MAGIC:
        version = struct.unpack_from("<i", head, 4)[0]
        raise CheckpointError(f"{path}: llama2.c format version {version}; version 0 (float32) is read")
    width, hidden, layers, heads, kv_heads, vocabulary, context = HEADER.unpack(head)
    counts = (width, hidden, layers, heads, kv_heads, abs(vocabulary), context)
    if min(counts) < 1 or layers > MAX_LAYERS or width % heads or heads % kv_heads or width // heads % 2:
        raise CheckpointError(f"{path}: not a llama2.c file of version 0: its first numbers are {counts}")
    attention = AttentionSpec(heads=heads, kv_heads=kv_heads, head_width=width // heads, rope_base=ROPE_BASE)
    layer = LayerSpec(attention=attention, feed_forward=FeedForwardSpec(kind="swiglu", width=hidden))
    config = ModelConfig(vocab_size=abs(vocabulary), width=width, context=context, layers=(layer,) * layers,
                         norm=NormSpec(kind="rms", eps=NORM_EPS), tied=vocabulary > 0)
    expected = HEADER.size + 4 * sum(int(np.prod(shape, dtype=object)) for _, shape in blocks(config))
    if size != expected:
        raise CheckpointError(f"{path}: {size:,} bytes, but its header describes a file of {expected:,}; "
                              f"it is cut off or not a llama2.c file of version 0")
    return config


def blocks(config: ModelConfig) -> Iterator[tuple[str, tuple[int, ...]]]:
    """Name and shape of every part of the file, in order; nameless ones are skipped."""
    layer, layers = config.layers[0], len(config.layers)
    attention, width, hidden = layer.attention, config.width, layer.feed_forward.width
    queries, keys = attention.heads * attention.head_width, attention.kv_heads * attention.head_width
    yield "embedding.token", (config.vocab_size, width)
    yield "blocks.{}.attention_norm", (layers, width)
    yield "blocks.{}.attention.query", (layers, queries, width)
    yield "blocks.{}.attention.key", (layers, keys, width)
    yield "blocks.{}.attention.value", (layers, keys, width)
    yield "blocks.{}.attention.output", (layers, width, queries)
    yield "blocks.{}.feed_forward_norm", (layers, width)
    yield "blocks.{}.feed_forward.gate", (layers, hidden, width)
    yield "blocks.{}.feed_forward.down", (layers, width, hidden)
    yield "blocks.{}.feed_forward.up", (layers, hidden, width)
    yield "final_norm", (width,)
    yield "", (2, config.context, attention.head_width // 2)  # cosines and sines, computed here instead
    if not config.tied:
        yield "head", (config.vocab_size, width)


def parameters_of(name: str, part: Tensor, config: ModelConfig) -> dict[str, Tensor]:
    """One part of the file -> our parameters: split by layer, query and key rows in the order of halves."""
    if "{}" not in name:
        return {f"{name}.weight": part}
    if name.endswith((".query", ".key")):
        part = halves_from_neighbours(part, config.layers[0].attention.head_width)
    return {f"{name.format(number)}.weight": matrix.clone() for number, matrix in enumerate(part)}


def halves_from_neighbours(rows: Tensor, head_width: int) -> Tensor:
    """(L, heads*E, D) with rotary pairs (0,1), (2,3), … -> pairs (0, E/2), (1, E/2+1), …

    For E = 4 the rows 0 1 2 3 of a head come out as 0 2 1 3.
    """
    layers, _, width = rows.shape
    pairs = rows.view(layers, -1, head_width // 2, 2, width)  # (L, heads, E/2, 2, D)
    return pairs.transpose(2, 3).reshape(rows.shape)
