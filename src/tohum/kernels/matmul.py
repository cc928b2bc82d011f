"""Calls of matmul.c: products of matrices in bfloat16, their sums in float32, of sides in any format.

A side that is a transposed view is read as it lies. `fits` says whether this machine has the arithmetic.
"""

import contextlib
import ctypes

import torch
from torch import Tensor
from torch.autograd import profiler

from tohum.kernels.build import LANES, library
from tohum.kernels.structs import FORMATS, Number, Pointer

EVENT = "product of bfloat16, operations: "
SIDES = (torch.float32, torch.bfloat16, torch.int8)


class Side(ctypes.Structure):
    """A matrix, and whether k runs along its rows."""

    _fields_ = (("numbers", Pointer), *((name, Number) for name in ("rows", "columns", "stride", "format", "along")))


class Target(ctypes.Structure):
    """Where the result goes."""

    _fields_ = (("numbers", Pointer), ("bias", Pointer), ("factors", Pointer),
                *((name, Number) for name in ("stride", "format", "add")))


def products() -> ctypes.CDLL | None:
    """The library: whoever has its instructions has vectors of sixteen floats."""
    return library("matrix products", LANES[0])


def fits(*tensors: Tensor) -> bool:
    """Whether these matrices may be given to `matmul`."""
    return (all(x.device.type == "cpu" and x.dtype in SIDES and x.numel() > 0 for x in tensors)
            and not torch.compiler.is_compiling() and products() is not None)


def multiplies_natively() -> bool:
    """Whether products in bfloat16 are made here."""
    return products() is not None


def matmul(left: Tensor, right: Tensor, to: Tensor, *, add: bool = False, bias: Tensor | None = None,
           factors: Tensor | None = None) -> Tensor:
    """to (M, N) = factors * (left (M, K) @ right (K, N)) + bias, or to += where `add`; bias and factors (N,) float32.

    `to` is float32 or bfloat16 (float32 to be added to) with its rows side by side. Raises MemoryError.
    """
    (rows, inner), columns = left.shape, right.shape[1]
    assert right.shape[0] == inner
    assert {left.dtype, right.dtype} <= set(SIDES)
    assert to.shape == (rows, columns)
    assert to.stride(1) == 1
    assert to.dtype is torch.float32 or (to.dtype is torch.bfloat16 and not add)
    assert all(x is None or (x.dtype is torch.float32 and x.is_contiguous()) for x in (bias, factors))
    left, right = (x if 1 in x.stride() else x.contiguous() for x in (left, right))
    target = Target(to.data_ptr(), address(bias), address(factors), to.stride(0), FORMATS[to.dtype], add)
    found = products()
    assert found is not None
    with told(2 * rows * inner * columns):
        failed = found.tohum_matmul(ctypes.byref(side(left, left.stride(1) == 1)),
                                    ctypes.byref(side(right.T, right.stride(1) != 1)), ctypes.byref(target),
                                    Number(rows), Number(columns), Number(inner), Number(torch.get_num_threads()))
    if failed:
        raise MemoryError(f"no memory for a product of {rows} x {inner} x {columns}")
    return to


def told(operations: int) -> contextlib.AbstractContextManager[object]:
    """A profile's event, whose name says how much was computed; nothing outside of profiles."""
    if profiler._is_profiler_enabled:
        return profiler.record_function(f"{EVENT}{operations}")
    return contextlib.nullcontext()


def side(x: Tensor, along: bool) -> Side:
    """x (of the result's rows or columns, k)."""
    x = x if along else x.T
    return Side(x.data_ptr(), x.shape[0], x.shape[1], x.stride(0), FORMATS[x.dtype], along)


def address(x: Tensor | None) -> int | None:
    """Of numbers side by side, or nothing."""
    return None if x is None else x.data_ptr()
