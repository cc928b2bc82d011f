"""Configuration, parameters, tokenizer -> a GGUF file, tensor by tensor; llama.cpp's own package writes it."""

import errno
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from tohum.errors import FailedError
from tohum.loading.gguf.architectures import architecture_for, factors_of
from tohum.loading.gguf.tensors import ROPE_FREQUENCIES, gguf_library
from tohum.loading.names import Shape, rules_for
from tohum.model.config import ModelConfig

FORMATS = {"fp32": "F32", "fp16": "F16", "bf16": "BF16", "q8_0": "Q8_0"}
FILE_TYPES = {"F32": 0, "F16": 1, "Q8_0": 7, "BF16": 32}  # of the file as a whole, for people
WHOLE = ("ffn_gate_inp.", "position_embd.", ROPE_FREQUENCIES)  # kept in float32, as llama.cpp's converter does
BLOCK = 32  # numbers of Q8_0 that share a factor: rows must consist of whole blocks
LARGEST_FP16 = 65504.0


def write_gguf(path: Path, config: ModelConfig, weights: Mapping[str, Tensor], *, dtype: str, name: str,
               vocabulary: Mapping[str, Any]) -> list[str]:
    """Write a file; answers notes on tensors that could not have the format asked for.

    dtype: one of FORMATS. vocabulary: the values under tokenizer.* (see tokenizing/gguf_fields.py). Raises ConfigError
    where llama.cpp has no such architecture, FailedError for numbers that do not fit the format.
    """
    library = gguf_library("writing GGUF files")
    architecture, values = architecture_for(config)
    rules = rules_for(architecture.table(config), len(config.layers), weights)
    writer = library.GGUFWriter(path, architecture.name)
    writer.add_name(name)
    writer.add_file_type(FILE_TYPES[FORMATS[dtype]])
    named = {f"{architecture.name}.{key}": value for key, value in values.items()}
    for key, value in (named | dict(vocabulary)).items():
        add(writer, library, key, value)
    factors = factors_of(config)
    made: dict[str, Callable[[], Tensor]] = {} if factors is None else {ROPE_FREQUENCIES: lambda: factors}
    shapes: dict[str, Shape] = {} if factors is None else {ROPE_FREQUENCIES: tuple(factors.shape)}
    for rule in rules:
        made[rule.theirs] = lambda rule=rule: rule.transform.write([weights[ours] for ours in rule.ours])
        shapes[rule.theirs] = rule.transform.shape([tuple(weights[ours].shape) for ours in rule.ours])
    formats = {theirs: format_of(theirs, shape, FORMATS[dtype]) for theirs, shape in shapes.items()}
    kinds = {theirs: library.GGMLQuantizationType[kind] for theirs, kind in formats.items()}
    for theirs, shape in shapes.items():
        stored = library.quants.quant_shape_to_byte_shape(shape, kinds[theirs])
        raw = formats[theirs] in ("Q8_0", "BF16")
        writer.add_tensor_info(theirs, stored if raw else shape, np.dtype(np.uint8 if raw else np.float32),
                               int(np.prod(stored)), raw_dtype=kinds[theirs])
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_ti_data_to_file()
    try:
        for theirs, make in made.items():
            writer.write_tensor_data(library.quants.quantize(numbers(theirs, make(), formats[theirs]), kinds[theirs]))
        writer.close()
    except OSError as error:  # numpy says that the disk is full in words alone
        raise error if error.errno else OSError(errno.ENOSPC, str(error), str(path)) from error
    narrower = [theirs for theirs, kind in formats.items() if dtype == "q8_0" and kind == "F16"]
    return [f"{len(narrower)} matrices are stored in fp16: their rows are no multiple of {BLOCK}"] if narrower else []


def add(writer: Any, library: Any, key: str, value: Any) -> None:
    """One value, in the type that llama.cpp expects of it."""
    kinds = library.GGUFValueType
    if isinstance(value, list):
        writer.add_array(key, value)
        return
    kind = {bool: kinds.BOOL, int: kinds.UINT32, float: kinds.FLOAT32, str: kinds.STRING}[type(value)]
    writer.add_key_value(key, value, kind)


def format_of(name: str, shape: Shape, asked: str) -> str:
    """Vectors and a few small matrices stay in float32; rows that are no whole blocks cannot be Q8_0."""
    if len(shape) == 1 or any(part in name for part in WHOLE):
        return "F32"
    return "F16" if asked == "Q8_0" and shape[-1] % BLOCK else asked


def numbers(name: str, tensor: Tensor, kind: str) -> np.ndarray:
    """A tensor as contiguous float32. Raises FailedError for numbers beyond float16."""
    tensor = tensor.to(torch.float32).contiguous()
    if kind == "F16" and float(tensor.abs().max()) > LARGEST_FP16:
        raise FailedError(f"{name} holds numbers beyond {LARGEST_FP16:.0f}, the largest of fp16; export it as bf16")
    return tensor.numpy()
