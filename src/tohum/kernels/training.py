"""Calls of training.c: tensors in float32 -> tensors, one pass over memory for each formula.

`fits` says whether a tensor may be given to it; where it may not (other formats, a GPU, torch.compile, no compiler),
the same formula is written with torch beside every call.
"""

import ctypes

import torch
from torch import Tensor

from tohum.kernels.build import library
from tohum.kernels.structs import LANES

PARTS = 16  # of the rows whose sum is a weight's gradient; each is one thread's work
Number, Exact = ctypes.c_int64, ctypes.c_double


def fits(x: Tensor, width: int) -> bool:
    """Whether the compiled kernels take x and rows of `width`."""
    return (x.dtype is torch.float32 and x.device.type == "cpu" and width % LANES == 0 and x.numel() > 0
            and not torch.compiler.is_compiling() and library("training") is not None)


def rms(x: Tensor, weight: Tensor, eps: float) -> tuple[Tensor, Tensor]:
    """x (…, D), weight (D,) -> the normed x, and the scale of each vector (…, 1)."""
    x = x.contiguous()
    made, scale = torch.empty_like(x), x.new_empty((*x.shape[:-1], 1))
    call().tohum_rms(at(x), at(weight), at(made), at(scale), Number(scale.numel()), Number(x.shape[-1]), Exact(eps),
                     threads())
    return made, scale


def rms_backward(gradient: Tensor, x: Tensor, weight: Tensor, scale: Tensor) -> tuple[Tensor, Tensor]:
    """Gradients of x (…, D) and of the weight (D,)."""
    gradient, x = gradient.contiguous(), x.contiguous()
    made, sums = torch.empty_like(x), x.new_empty((PARTS, x.shape[-1]))
    call().tohum_rms_backward(at(gradient), at(x), at(weight), at(scale), at(made), at(sums), Number(PARTS),
                              Number(scale.numel()), Number(x.shape[-1]), threads())
    return made, sums.sum(dim=0)


def turn(x: Tensor, cosines: Tensor, sines: Tensor, *, back: bool) -> Tensor:
    """x (B, T, heads, E), cosines and sines (T or B x T, 1, E/2) -> x turned by its angles, or back."""
    texts, tokens, heads, width = x.shape
    x = x if x.stride(-1) == 1 else x.contiguous()
    cosines, sines = cosines.contiguous(), sines.contiguous()
    made = x.new_empty((texts, tokens, heads, width))
    strides = (Number * 3)(*x.stride()[:3])
    call().tohum_turn(at(x), strides, at(cosines), at(sines), at(made), Number(texts), Number(tokens), Number(heads),
                      Number(width), Number(cosines.numel() // (width // 2)), Number(back), threads())
    return made


def swish(gate: Tensor, up: Tensor) -> Tensor:
    """silu(gate) * up, of any shape."""
    gate, up = gate.contiguous(), up.contiguous()
    made = torch.empty_like(gate)
    call().tohum_swish(at(gate), at(up), at(made), Number(made.numel()), threads())
    return made


def swish_backward(gradient: Tensor, gate: Tensor, up: Tensor) -> tuple[Tensor, Tensor]:
    """Gradients of gate and of up."""
    gradient, gate, up = gradient.contiguous(), gate.contiguous(), up.contiguous()
    dgate, dup = torch.empty_like(gate), torch.empty_like(gate)
    call().tohum_swish_backward(at(gradient), at(gate), at(up), at(dgate), at(dup), Number(gate.numel()), threads())
    return dgate, dup


def call() -> ctypes.CDLL:
    """The library, which `fits` has found to be there."""
    found = library("training")
    assert found is not None
    return found


def at(x: Tensor) -> ctypes.c_void_p:
    """The address of numbers that stand side by side (the caller's concern)."""
    return ctypes.c_void_p(x.data_ptr())


def threads() -> ctypes.c_int64:
    """As many as torch uses."""
    return Number(torch.get_num_threads())
