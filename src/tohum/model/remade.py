"""Memory for arithmetic: a tensor that backward needs is made again from others that are kept anyway."""

import contextlib
from collections.abc import Callable
from typing import NamedTuple

import torch
from torch import Tensor


class Remade(NamedTuple):
    """What stands in the place of a kept tensor."""

    shape: torch.Size
    make: Callable[[], Tensor]


def made_again(tensor: Tensor, make: Callable[[], Tensor]) -> contextlib.AbstractContextManager[object]:
    """Inside, no operation keeps `tensor` for its backward pass: `make`, which must give the same bits, is called then.

    `make` may hold only tensors that are kept in any case. Nothing changes where torch.compile decides what is kept.
    """
    if torch.compiler.is_compiling():
        return contextlib.nullcontext()
    pointer, count = tensor.data_ptr(), tensor.numel()

    def pack(kept: Tensor) -> Tensor | Remade:
        is_it = kept.data_ptr() == pointer and kept.numel() == count
        return Remade(kept.shape, make) if is_it and kept.is_contiguous() else kept

    def unpack(packed: Tensor | Remade) -> Tensor:
        return packed.make().view(packed.shape) if isinstance(packed, Remade) else packed

    return torch.autograd.graph.saved_tensors_hooks(pack, unpack)
