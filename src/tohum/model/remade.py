"""Memory for arithmetic: a tensor that backward needs is made again from others that are kept anyway."""

import contextlib
from collections.abc import Callable
from typing import NamedTuple

import torch
from torch import Tensor


class Remade(NamedTuple):
    """What stands in the place of a kept tensor."""

    shape: torch.Size
    stride: tuple[int, ...]
    make: Callable[[], Tensor]


def made_again(tensor: Tensor, make: Callable[[], Tensor]) -> contextlib.AbstractContextManager[object]:
    """Inside, no operation keeps `tensor` for its backward pass: `make`, which must give the same bits, is called then.

    `make` may hold only tensors that are kept in any case. Nothing changes where torch.compile decides what is
    kept, and for a tensor that is not contiguous.
    """
    if torch.compiler.is_compiling() or not tensor.is_contiguous():
        return contextlib.nullcontext()
    pointer, count = tensor.data_ptr(), tensor.numel()

    def pack(kept: Tensor) -> Tensor | Remade:
        is_it = kept.data_ptr() == pointer and kept.numel() == count  # it, or a view of all of it: a transpose, say
        return Remade(kept.shape, kept.stride(), make) if is_it else kept

    def unpack(packed: Tensor | Remade) -> Tensor:
        return packed.make().as_strided(packed.shape, packed.stride) if isinstance(packed, Remade) else packed

    return torch.autograd.graph.saved_tensors_hooks(pack, unpack)
