"""Calls of the library: structs and vectors (N, D) in float32 -> vectors (N, D), scores (N, V) in float32."""

import ctypes
from collections.abc import Sequence

import torch
from torch import Tensor

from tohum.kernels.structs import Block, Matrix, Norm, Pass


def make_pass(texts: Tensor, positions: Tensor, *, width: int, longest: int) -> Pass:
    """texts and positions (N,) int64, which the caller holds; longest: the largest position + 1."""
    return Pass(texts.data_ptr(), positions.data_ptr(), len(texts), width, longest, torch.get_num_threads())


def run_blocks(library: ctypes.CDLL, blocks: "ctypes.Array[Block]", tokens: Pass, x: Tensor) -> None:
    """x (N, D) through the blocks, in place; keys and values go into the cache."""
    if library.tohum_blocks(blocks, ctypes.c_int64(len(blocks)), ctypes.byref(tokens), pointer_to(x)):
        raise MemoryError(f"no memory for a pass over {tokens.tokens} tokens")


def run_norm(library: ctypes.CDLL, norm: Norm, x: Tensor) -> Tensor:
    """x (N, D) -> (N, D)."""
    made, tokens = torch.empty_like(x), plain_pass(x)
    library.tohum_norm(ctypes.byref(norm), ctypes.byref(tokens), pointer_to(x), pointer_to(made))
    return made


def run_linear(library: ctypes.CDLL, matrix: Matrix, x: Tensor) -> Tensor:
    """x (N, in) -> (N, out)."""
    made, tokens = x.new_empty(len(x), matrix.out), plain_pass(x)
    if library.tohum_linear(ctypes.byref(matrix), ctypes.byref(tokens), pointer_to(x), pointer_to(made)):
        raise MemoryError(f"no memory for {len(x)} vectors")
    return made


def block_array(blocks: Sequence[Block]) -> "ctypes.Array[Block]":
    """Side by side in memory, as the library reads them."""
    return (Block * len(blocks))(*blocks)


def plain_pass(x: Tensor) -> Pass:
    """Vectors without places."""
    return Pass(None, None, len(x), x.shape[1], 0, torch.get_num_threads())


def pointer_to(x: Tensor) -> ctypes.c_void_p:
    """The address of float32 vectors that stand side by side."""
    assert x.dtype == torch.float32
    assert x.is_contiguous()
    return ctypes.c_void_p(x.data_ptr())
