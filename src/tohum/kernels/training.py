"""Calls of training.c and loss.c: tensors in float32 or bfloat16 -> tensors, one pass over memory for each formula.

`fits` says whether a tensor may be given to it; where it may not (other formats, a GPU, torch.compile, no compiler),
the same formula is written with torch beside every call.
"""

import ctypes

import torch
from torch import Tensor

from tohum.kernels.build import lanes_for, library
from tohum.kernels.structs import FORMATS

PARTS = 16  # of the rows whose sum is a weight's gradient; each is one thread's work
Number, Exact = ctypes.c_int64, ctypes.c_double


def fits(x: Tensor, width: int = 0) -> bool:
    """Whether the compiled kernels take x and rows of `width` (0: any)."""
    return (x.dtype in (torch.float32, torch.bfloat16) and x.device.type == "cpu" and x.numel() > 0
            and not torch.compiler.is_compiling() and (lanes := lanes_for(width)) > 0
            and library("training", lanes) is not None)


def rms(x: Tensor, weight: Tensor, eps: float) -> tuple[Tensor, Tensor]:
    """x (…, D), weight (D,) -> the normed x, and the scale of each vector (…, 1) in float32."""
    x, weight = x.contiguous(), weight.float()
    made, scale = torch.empty_like(x), x.new_empty((*x.shape[:-1], 1), dtype=torch.float32)
    call(x.shape[-1]).tohum_rms(at(x), at(weight), at(made), at(scale), Number(scale.numel()), Number(x.shape[-1]),
                                Exact(eps), form(x), threads())
    return made, scale


def rms_backward(gradient: Tensor, x: Tensor, weight: Tensor, scale: Tensor) -> tuple[Tensor, Tensor]:
    """Gradients of x (…, D) and of the weight (D,), the latter in float32."""
    gradient, x, weight = gradient.contiguous(), x.contiguous(), weight.float()
    made, sums = torch.empty_like(x), x.new_empty((PARTS, x.shape[-1]), dtype=torch.float32)
    call(x.shape[-1]).tohum_rms_backward(at(gradient), at(x), at(weight), at(scale), at(made), at(sums), Number(PARTS),
                                         Number(scale.numel()), Number(x.shape[-1]), form(x), threads())
    return made, sums.sum(dim=0)


def turn(x: Tensor, cosines: Tensor, sines: Tensor, *, back: bool) -> Tensor:
    """x (B, T, heads, E), cosines and sines (T or B x T, 1, E/2) -> x turned by its angles, or back."""
    texts, tokens, heads, width = x.shape
    x = x if x.stride(-1) == 1 else x.contiguous()
    cosines, sines = cosines.float().contiguous(), sines.float().contiguous()
    made = x.new_empty((texts, tokens, heads, width))
    strides = (Number * 3)(*x.stride()[:3])
    call(width // 2).tohum_turn(at(x), strides, at(cosines), at(sines), at(made), Number(texts), Number(tokens),
                                Number(heads), Number(width), Number(cosines.numel() // (width // 2)), Number(back),
                                form(x), threads())
    return made


def gelu(x: Tensor) -> Tensor:
    """gelu(x) by its tanh form, of any shape."""
    x = x.contiguous()
    made = torch.empty_like(x)
    call(x.shape[-1]).tohum_gelu(at(x), at(made), Number(made.numel()), form(x), threads())
    return made


def gelu_backward(gradient: Tensor, x: Tensor) -> Tensor:
    """Gradient of x."""
    gradient, x = gradient.contiguous(), x.contiguous()
    made = torch.empty_like(x)
    call(x.shape[-1]).tohum_gelu_backward(at(gradient), at(x), at(made), Number(made.numel()), form(x), threads())
    return made


def swish(gate: Tensor, up: Tensor) -> Tensor:
    """silu(gate) * up, of any shape."""
    gate, up = gate.contiguous(), up.contiguous()
    made = torch.empty_like(gate)
    call(gate.shape[-1]).tohum_swish(at(gate), at(up), at(made), Number(made.numel()), form(gate), threads())
    return made


def swish_backward(gradient: Tensor, gate: Tensor, up: Tensor) -> tuple[Tensor, Tensor]:
    """Gradients of gate and of up."""
    gradient, gate, up = gradient.contiguous(), gate.contiguous(), up.contiguous()
    dgate, dup = torch.empty_like(gate), torch.empty_like(gate)
    call(gate.shape[-1]).tohum_swish_backward(at(gradient), at(gate), at(up), at(dgate), at(dup),
                                              Number(gate.numel()), form(gate), threads())
    return dgate, dup


def drop(x: Tensor, key: Tensor, least: int, scale: float) -> Tensor:
    """x * scale where its hash with key (2,) int32 is not below `least`, else 0 (dropout.py)."""
    x = x.contiguous()
    made = torch.empty_like(x)
    call(x.shape[-1]).tohum_drop(at(x), at(made), at(key), Number(least), Exact(scale), Number(x.numel()), form(x),
                                 threads())
    return made


def cross_entropy(logits: Tensor, targets: Tensor, soft_cap: float | None) -> tuple[Tensor, Tensor]:
    """logits (n, V), targets (n,) -> losses (n,) and sums (n, 1) in float32.

    logits then hold the gradient of each row's loss times its sum. Raises IndexError for a target outside 0..V-1.
    """
    assert logits.is_contiguous()
    assert targets.shape == (len(logits),)
    assert targets.device == logits.device
    lowest, highest = targets.aminmax()
    if lowest < 0 or highest >= logits.shape[1]:
        raise IndexError(f"targets from {int(lowest)} to {int(highest)}, but there are {logits.shape[1]} scores")
    targets = targets.to(torch.int64).contiguous()
    losses, sums = (logits.new_empty(len(logits), dtype=torch.float32) for _ in range(2))
    call().tohum_cross_entropy(at(logits), at(targets), at(losses), at(sums), Number(len(logits)),
                               Number(logits.shape[1]), Exact(soft_cap or 0.0), form(logits), threads())
    return losses, sums[:, None]


def call(width: int = 0) -> ctypes.CDLL:
    """The library for rows of `width`, which `fits` has found to be there."""
    found = library("training", lanes_for(width))
    assert found is not None
    return found


def at(x: Tensor) -> ctypes.c_void_p:
    """The address of numbers that stand side by side (the caller's concern)."""
    return ctypes.c_void_p(x.data_ptr())


def form(x: Tensor) -> ctypes.c_int64:
    """The number of a format."""
    return Number(FORMATS[x.dtype])


def threads() -> ctypes.c_int64:
    """As many as torch uses."""
    return Number(torch.get_num_threads())
