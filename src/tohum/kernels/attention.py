"""Calls of attention.c: causal attention in bfloat16, forward and backward, on views of any strides."""

import ctypes

import torch
from torch import Tensor

from tohum.kernels.matmul import products
from tohum.kernels.structs import Number, Pointer

VIEWS = ("query", "key", "value", "context", "dcontext", "dquery", "dkey", "dvalue")


class View(ctypes.Structure):
    """(B, heads, T, E): the first number, and those from text to text, head to head and token to token."""

    _fields_ = (("numbers", Pointer), *((name, Number) for name in ("text", "head", "token")))


class Attention(ctypes.Structure):
    """What one call works on."""

    _fields_ = (*((name, View) for name in VIEWS), ("log_sums", Pointer), ("visible", Pointer),
                *((name, Number) for name in ("visible_text", "texts", "heads", "kv_heads", "tokens", "width",
                                              "threads")), ("scale", ctypes.c_double))


def fits(query: Tensor, key: Tensor, value: Tensor) -> bool:
    """Whether (B, H, T, E) and (B, G, T, E) twice may be given to it."""
    texts, _, *size = query.shape
    fit = key.shape == value.shape == (texts, key.shape[1], *size)
    return (fit and all(x.dtype is torch.bfloat16 and x.device.type == "cpu" and x.numel() > 0
                        for x in (query, key, value))
            and not torch.compiler.is_compiling() and products() is not None)


def attention(query: Tensor, key: Tensor, value: Tensor, visible: Tensor | None,
              scale: float) -> tuple[Tensor, Tensor]:
    """query (B, H, T, E), key and value (B, G, T, E) -> context (B, H, T, E), the logarithms of the sums (B, H, T).

    visible (B or 1, 1, T, T) bool narrows what is causal. Raises MemoryError.
    """
    query, key, value = map(in_rows, (query, key, value))
    context, log_sums = empty_like(query), query.new_empty(query.shape[:3], dtype=torch.float32)
    run(visible, scale, log_sums, backward=False, query=query, key=key, value=value, context=context)
    return context, log_sums


def attention_backward(gradient: Tensor, query: Tensor, key: Tensor, value: Tensor, visible: Tensor | None,
                       log_sums: Tensor, scale: float) -> tuple[Tensor, Tensor, Tensor]:
    """The gradient of the context (B, H, T, E) -> those of query, key and value. Raises MemoryError."""
    query, key, value = map(in_rows, (query, key, value))
    made = empty_like(query), empty_like(key), empty_like(value)
    run(visible, scale, log_sums, backward=True, query=query, key=key, value=value,
        dcontext=in_rows(gradient.to(torch.bfloat16)), dquery=made[0], dkey=made[1], dvalue=made[2])
    return made


def run(visible: Tensor | None, scale: float, log_sums: Tensor, *, backward: bool, **tensors: Tensor) -> None:
    """One call. Raises MemoryError."""
    query, found = tensors["query"], products()
    assert found is not None
    texts, heads, tokens, width = query.shape
    if visible is not None:
        visible = visible.expand(-1, 1, tokens, tokens).contiguous()
        assert visible.dtype is torch.bool
        assert len(visible) in (1, texts)
    call = Attention(log_sums=log_sums.data_ptr(), visible=None if visible is None else visible.data_ptr(),
                     visible_text=0 if visible is None or len(visible) == 1 else visible.stride(0), texts=texts,
                     heads=heads, kv_heads=tensors["key"].shape[1], tokens=tokens, width=width,
                     threads=torch.get_num_threads(), scale=scale,
                     **{name: View(x.data_ptr(), *x.stride()[:3]) for name, x in tensors.items()})
    if found.tohum_attention(ctypes.byref(call), Number(backward)):
        raise MemoryError(f"no memory for the attention of {tokens} tokens")


def in_rows(x: Tensor) -> Tensor:
    """Numbers of a vector side by side."""
    return x if x.stride(-1) == 1 else x.contiguous()


def empty_like(x: Tensor) -> Tensor:
    """(B, heads, T, E), in memory (B, T, heads, E), as the layers around attention have it."""
    texts, heads, tokens, width = x.shape
    return x.new_empty(texts, tokens, heads, width).transpose(1, 2)
