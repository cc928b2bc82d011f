"""Tensors -> the structs of kernels.c: matrices, norms, blocks and passes, by pointers, without copies.

A struct does not keep its tensors alive: `kept` collects them, and whoever holds the structs holds that list.
"""

import ctypes

import torch
from torch import Tensor

FORMATS = {torch.float32: 0, torch.bfloat16: 1, torch.float16: 2, torch.int8: 3}  # as in vectors.h
Number, Pointer = ctypes.c_int64, ctypes.c_void_p


class Matrix(ctypes.Structure):
    """(out, in) of a linear layer; factors where its numbers are bytes."""

    _fields_ = (("weight", Pointer), ("factors", Pointer), ("bias", Pointer), ("out", Number), ("in_", Number),
                ("format", Number))


class Norm(ctypes.Structure):
    """RMSNorm, or LayerNorm where `centred`; all zero: no norm."""

    _fields_ = (("weight", Pointer), ("bias", Pointer), ("width", Number), ("centred", Number),
                ("eps", ctypes.c_double))


NORMS = ("attention_norm", "query_norm", "key_norm", "attention_post_norm", "feed_forward_norm",
         "feed_forward_post_norm")
MATRICES = ("query", "key", "value", "output", "gate", "up", "down")


class Block(ctypes.Structure):
    """One transformer block and its part of the cache."""

    _fields_ = (*((name, Norm) for name in NORMS), *((name, Matrix) for name in MATRICES),
                *((name, Pointer) for name in ("cosines", "sines", "keys", "values")),
                *((name, Number) for name in ("slots", "stored", "heads", "kv_heads", "head_width", "kind")),
                ("scale", ctypes.c_double), ("soft_cap", ctypes.c_double))


class Pass(ctypes.Structure):
    """Tokens of one call: the text (row of the cache) and the place of each."""

    _fields_ = (("text", Pointer), ("position", Pointer),
                *((name, Number) for name in ("tokens", "width", "longest", "threads")))


def pointer(tensor: Tensor, kept: list[Tensor]) -> int:
    """Address of a contiguous tensor on the CPU."""
    assert tensor.is_contiguous()
    assert tensor.device.type == "cpu"
    kept.append(tensor)
    return tensor.data_ptr()


def exact(tensor: Tensor | None, kept: list[Tensor]) -> int | None:
    """Address of small float tensors in float32; others than float32 are copied."""
    return None if tensor is None else pointer(tensor.detach().float().contiguous(), kept)


def matrix(weight: Tensor, kept: list[Tensor], *, factors: Tensor | None = None, bias: Tensor | None = None) -> Matrix:
    """weight (out, in) in any of the FORMATS, factors and bias (out,)."""
    out, width = weight.shape
    return Matrix(pointer(weight.detach(), kept), exact(factors, kept), exact(bias, kept), out, width,
                  FORMATS[weight.dtype])


def norm(weight: Tensor, eps: float, kept: list[Tensor], *, bias: Tensor | None = None, centred: bool = False) -> Norm:
    """weight and bias (width,)."""
    return Norm(exact(weight, kept), exact(bias, kept), len(weight), centred, eps)
