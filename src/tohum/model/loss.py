"""Next-token loss: hidden states and targets -> summed cross-entropy, in chunks, gradients in the forward pass.

Logits are the largest tensor of a small model (tokens x vocabulary). Here they exist for one chunk of rows at a
time: each chunk's gradient is computed right after its loss and only the gradients of `hidden` (N, D) and of the
head (V, D) are kept, so the peak does not grow with tokens x vocabulary. Positions without a target are skipped.
"""

from collections.abc import Iterator
from math import ceil
from typing import Any, NamedTuple

import torch
from torch import Tensor

from tohum.data_sampling.batch import IGNORED
from tohum.kernels import matmul
from tohum.kernels import training as kernels

# Logits alive at once. A product of few rows pays for the packing of the whole head: 42 rows of V = 49,152 take twice
# the time per row of 512; 1,024 gain nothing more. Where the head is frozen, logits are much of what a step adds, and
# 342 rows in place of 512 cost half a percent of a LoRA step. An accelerator wants more work at a time.
CHUNK_ROWS, FROZEN_CHUNK_ROWS, CHUNK_BYTES, CHUNK_ELEMENTS_CUDA = 512, 384, 2**27, 2**26


def cross_entropy_sum(hidden: Tensor, head: Tensor, targets: Tensor, *, dtype: torch.dtype,
                      soft_cap: float | None = None, chunk_elements: int | None = None) -> Tensor:
    """Sum over supervised targets of -log p(target).

    hidden (B, T, D) or (N, D); head (V, D); targets (B, T) or (N,) with IGNORED where nothing is predicted;
    `dtype` is the format of the matrix products. Returns a scalar in float32 (float64 for float64 input).
    """
    flat, wanted = hidden.reshape(-1, hidden.shape[-1]), targets.reshape(-1)
    supervised = wanted != IGNORED
    if not bool(supervised.all()):
        flat, wanted = flat[supervised], wanted[supervised]
    rows = chunk_rows(head.shape[0], head.device.type, dtype.itemsize, frozen=not head.requires_grad,
                      elements=chunk_elements)
    if torch.is_grad_enabled() and (flat.requires_grad or head.requires_grad):
        return ChunkedCrossEntropy.apply(flat, head, wanted, dtype, soft_cap, rows)
    total, weight = flat.new_zeros((), dtype=accumulator(flat)), readable(head, dtype)
    for rows_here, buffer in chunks(flat, weight, rows, dtype):
        total = total + chunk_loss(flat[rows_here].to(dtype), weight, wanted[rows_here], soft_cap, buffer).loss.sum()
    return total


def token_losses(hidden: Tensor, head: Tensor, targets: Tensor, *, dtype: torch.dtype,
                 soft_cap: float | None = None, chunk_elements: int | None = None) -> Tensor:
    """-log p(target) of every row: hidden (N, D), head (V, D), targets (N,) without IGNORED -> (N,).

    The form for losses that weigh texts against each other; logits exist for one chunk of rows at a time here too.
    """
    rows = chunk_rows(head.shape[0], head.device.type, dtype.itemsize, frozen=not head.requires_grad,
                      elements=chunk_elements)
    return ChunkedTokenLosses.apply(hidden, head, targets, dtype, soft_cap, rows)


def chunk_rows(vocab_size: int, device: str, number_bytes: int, *, frozen: bool, elements: int | None = None) -> int:
    """The most rows whose logits, of `number_bytes` each, are made together; frozen: the head gets no gradient.

    `elements` (n x V) where the caller knows better.
    """
    if elements is None and device == "cpu":
        most = FROZEN_CHUNK_ROWS if frozen else CHUNK_ROWS
        return max(1, min(most, CHUNK_BYTES // (vocab_size * number_bytes)))
    return max(1, (elements or CHUNK_ELEMENTS_CUDA) // vocab_size)


def accumulator(x: Tensor) -> torch.dtype:
    """Sums are kept in float32, or float64 where the input is."""
    return torch.float64 if x.dtype == torch.float64 else torch.float32


class Chunk(NamedTuple):
    """Loss of each row (n,), and the gradient of its sum for the logits (n, V) times `scale` (n, 1)."""

    loss: Tensor
    slope: Tensor
    scale: Tensor


def readable(head: Tensor, dtype: torch.dtype) -> Tensor:
    """The head as products in `dtype` read it, once for all chunks: as it is where they take any format."""
    return head if dtype is torch.bfloat16 and matmul.fits(head) else head.to(dtype)


def gradient_of(head: Tensor, hidden: Tensor) -> Tensor:
    """Memory for the head's gradient, which the first chunk of hidden vectors writes; zeros where there is none."""
    make = torch.empty if len(hidden) else torch.zeros
    return make(head.shape, dtype=accumulator(hidden), device=head.device)


def multiply(left: Tensor, right: Tensor, to: Tensor, *, add: bool = False) -> Tensor:
    """to (M, N) = left (M, K) @ right (K, N), or to += where `add`; in one kernel where there is one."""
    if left.dtype is torch.bfloat16 and matmul.fits(left, right, to):
        return matmul.matmul(left, right, to, add=add)
    right = right.to(left.dtype)
    if to.dtype is not left.dtype:
        return to.add_(left @ right) if add else to.copy_(left @ right)
    return to.addmm_(left, right) if add else torch.mm(left, right, out=to)


def chunks(hidden: Tensor, weight: Tensor, rows: int, dtype: torch.dtype) -> Iterator[tuple[slice, Tensor]]:
    """Of chunks of one size, `rows` at most: the rows of each, and the memory for its logits (n, V)."""
    count = max(1, ceil(len(hidden) / rows))
    size = ceil(len(hidden) / count)
    buffer = hidden.new_empty(size, weight.shape[0], dtype=dtype)
    for start in range(0, len(hidden), max(1, size)):
        here = slice(start, min(start + size, len(hidden)))
        yield here, buffer[: here.stop - start]


def chunk_loss(hidden: Tensor, weight: Tensor, targets: Tensor, soft_cap: float | None, buffer: Tensor) -> Chunk:
    """(n, D), (V, D), (n,), (n, V) -> losses and slope, which lies in `buffer` where its dtype allows.

    Each pass over (n, V) reads and writes all logits, so the softmax is left undivided: with e = exp(logits - their
    largest) and s = sum(e), the gradient is (e - s at the target) / s, and s is divided out of the product.
    """
    logits = multiply(hidden, weight.T, buffer)  # (n, V)
    if kernels.fits(logits):
        losses, sums = kernels.cross_entropy(logits, targets, soft_cap)
        return Chunk(losses, logits, sums)
    logits = logits.to(accumulator(hidden))
    steepness = None
    if soft_cap is not None:
        logits.div_(soft_cap).tanh_()
        steepness = 1 - logits.square()
        logits.mul_(soft_cap)
    column = targets[:, None]
    largest, wanted = logits.amax(dim=-1, keepdim=True), logits.gather(1, column)  # (n, 1) each
    e = logits.sub_(largest).exp_()
    s = e.sum(dim=-1, keepdim=True)
    loss = (s.log() + largest - wanted)[:, 0]
    e.scatter_add_(1, column, -s)
    return Chunk(loss, e if steepness is None else e.mul_(steepness), s)


class ChunkedCrossEntropy(torch.autograd.Function):
    """The loss above with both gradients ready when forward returns."""

    @staticmethod
    def forward(ctx: Any, hidden: Tensor, head: Tensor, targets: Tensor, dtype: torch.dtype,
                soft_cap: float | None, rows: int) -> Tensor:
        weight = readable(head, dtype)
        total = hidden.new_zeros((), dtype=accumulator(hidden))
        grad_hidden = torch.empty_like(hidden, memory_format=torch.contiguous_format)
        wants_head = ctx.needs_input_grad[1]  # a frozen head gets none: a third of the arithmetic less
        grad_head = gradient_of(head, hidden) if wants_head else None
        for here, buffer in chunks(hidden, weight, rows, dtype):
            part = hidden[here].to(dtype)
            loss, slope, scale = chunk_loss(part, weight, targets[here], soft_cap, buffer)
            total += loss.sum()
            slope = slope.to(dtype)
            multiply(slope, weight, grad_hidden[here]).div_(scale)
            if grad_head is not None:
                multiply(slope.T, (part / scale).to(dtype), grad_head, add=here.start > 0)
        ctx.made = grad_hidden, None if grad_head is None else grad_head.to(head.dtype)
        return total

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> tuple[Tensor | None, ...]:
        """In place, and given away: held by nobody else, the head's takes the rows of a tied token table in place."""
        if ctx.made is None:
            raise RuntimeError("a second backward pass over one forward pass: the gradients of this loss are made once")
        (upstream,), (grad_hidden, grad_head), ctx.made = gradients, ctx.made, None
        grad_hidden.mul_(upstream.to(grad_hidden.dtype))
        return grad_hidden, None if grad_head is None else grad_head.mul_(upstream), None, None, None, None


class ChunkedTokenLosses(torch.autograd.Function):
    """One loss per row; the gradients of `hidden` are ready when forward returns, those of a head are made again."""

    @staticmethod
    def forward(ctx: Any, hidden: Tensor, head: Tensor, targets: Tensor, dtype: torch.dtype,
                soft_cap: float | None, rows: int) -> Tensor:
        weight, wanted = readable(head, dtype), ctx.needs_input_grad[0]
        losses = hidden.new_empty(len(hidden), dtype=accumulator(hidden))
        grad_hidden = torch.empty_like(hidden, memory_format=torch.contiguous_format) if wanted else None
        for here, buffer in chunks(hidden, weight, rows, dtype):
            losses[here], slope, scale = chunk_loss(hidden[here].to(dtype), weight, targets[here], soft_cap, buffer)
            if grad_hidden is not None:
                multiply(slope.to(dtype), weight, grad_hidden[here]).div_(scale)
        keeps = ctx.needs_input_grad[1]
        ctx.save_for_backward(grad_hidden, *((hidden, head, targets) if keeps else ()))
        ctx.settings = dtype, soft_cap, rows
        return losses

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> tuple[Tensor | None, ...]:
        grad_hidden, *kept = ctx.saved_tensors
        upstream = gradients[0][:, None]  # (N, 1)
        grad_head = None
        if kept:
            (hidden, head, targets), (dtype, soft_cap, rows) = kept, ctx.settings
            weight = readable(head, dtype)
            grad_head = gradient_of(head, hidden)
            for here, buffer in chunks(hidden, weight, rows, dtype):
                part = hidden[here].to(dtype)
                _, slope, scale = chunk_loss(part, weight, targets[here], soft_cap, buffer)
                multiply(slope.to(dtype).T, (part * upstream[here] / scale).to(dtype), grad_head, add=here.start > 0)
            grad_head = grad_head.to(head.dtype)
        scaled = None if grad_hidden is None else grad_hidden * upstream.to(grad_hidden.dtype)
        return scaled, grad_head, None, None, None, None
