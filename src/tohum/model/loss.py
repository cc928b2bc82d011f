"""Next-token loss: hidden states and targets -> summed cross-entropy, in chunks, gradients in the forward pass.

Logits are the largest tensor of a small model (tokens x vocabulary). Here they exist for one chunk of rows at a
time: each chunk's gradient is computed right after its loss and only the gradients of `hidden` (N, D) and of the
head (V, D) are kept, so the peak does not grow with tokens x vocabulary. Positions without a target are skipped.
"""

from typing import Any

import torch
from torch import Tensor

from tohum.data_sampling.batch import IGNORED

CHUNK_ELEMENTS = 2**21  # logits alive at once: 8 MB in float32, near the size of a core's caches


def cross_entropy_sum(hidden: Tensor, head: Tensor, targets: Tensor, *, dtype: torch.dtype,
                      soft_cap: float | None = None, chunk_elements: int = CHUNK_ELEMENTS) -> Tensor:
    """Sum over supervised targets of -log p(target).

    hidden (B, T, D) or (N, D); head (V, D); targets (B, T) or (N,) with IGNORED where nothing is predicted;
    `dtype` is the format of the matrix products. Returns a scalar in float32 (float64 for float64 input).
    """
    flat, wanted = hidden.reshape(-1, hidden.shape[-1]), targets.reshape(-1)
    supervised = wanted != IGNORED
    if not bool(supervised.all()):
        flat, wanted = flat[supervised], wanted[supervised]
    rows = max(1, chunk_elements // head.shape[0])
    if torch.is_grad_enabled() and (flat.requires_grad or head.requires_grad):
        return ChunkedCrossEntropy.apply(flat, head, wanted, dtype, soft_cap, rows)
    total = flat.new_zeros((), dtype=accumulator(flat))
    weight = head.to(dtype)
    for start in range(0, len(flat), rows):
        loss, _ = chunk_loss(flat[start : start + rows].to(dtype), weight, wanted[start : start + rows], soft_cap,
                             gradient=False)
        total = total + loss.sum()
    return total


def token_losses(hidden: Tensor, head: Tensor, targets: Tensor, *, dtype: torch.dtype,
                 soft_cap: float | None = None, chunk_elements: int = CHUNK_ELEMENTS) -> Tensor:
    """-log p(target) of every row: hidden (N, D), head (V, D), targets (N,) without IGNORED -> (N,).

    The form for losses that weigh texts against each other; logits exist for one chunk of rows at a time here too.
    """
    return ChunkedTokenLosses.apply(hidden, head, targets, dtype, soft_cap, max(1, chunk_elements // head.shape[0]))


def accumulator(x: Tensor) -> torch.dtype:
    """Sums are kept in float32, or float64 where the input is."""
    return torch.float64 if x.dtype == torch.float64 else torch.float32


def chunk_loss(hidden: Tensor, weight: Tensor, targets: Tensor, soft_cap: float | None, *,
               gradient: bool) -> tuple[Tensor, Tensor | None]:
    """(n, D), (V, D), (n,) -> loss of each row (n,) and, if wanted, the gradients for the logits (n, V)."""
    logits = (hidden @ weight.T).to(accumulator(hidden))  # (n, V)
    if soft_cap is not None:
        logits = torch.tanh(logits / soft_cap) * soft_cap
    lse = torch.logsumexp(logits, dim=-1, keepdim=True)  # (n, 1)
    column = targets[:, None]
    loss = (lse - logits.gather(1, column))[:, 0]  # (n,)
    if not gradient:
        return loss, None
    capped = logits.clone() if soft_cap is not None else logits
    p = logits.sub_(lse).exp_()  # softmax, in place
    p.scatter_add_(1, column, p.new_full((1, 1), -1.0).expand_as(column))
    if soft_cap is not None:
        p.mul_(1 - (capped / soft_cap).square_())
    return loss, p


class ChunkedCrossEntropy(torch.autograd.Function):
    """The loss above with both gradients ready when forward returns."""

    @staticmethod
    def forward(ctx: Any, hidden: Tensor, head: Tensor, targets: Tensor, dtype: torch.dtype,
                soft_cap: float | None, rows: int) -> Tensor:
        weight = head.to(dtype)  # once for all chunks
        total = hidden.new_zeros((), dtype=accumulator(hidden))
        grad_hidden = torch.empty_like(hidden)
        wants_head = ctx.needs_input_grad[1]  # a frozen head gets none: a third of the arithmetic less
        grad_head = torch.zeros(head.shape if wants_head else 0, dtype=accumulator(hidden), device=head.device)
        for start in range(0, len(hidden), rows):
            part = hidden[start : start + rows].to(dtype)
            loss, grad = chunk_loss(part, weight, targets[start : start + rows], soft_cap, gradient=True)
            total += loss.sum()
            assert grad is not None
            narrow = grad.to(dtype)  # (n, V)
            grad_hidden[start : start + rows] = narrow @ weight
            if wants_head:
                grad_head += narrow.T @ part
        ctx.save_for_backward(grad_hidden, grad_head.to(head.dtype) if wants_head else None)
        return total

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> tuple[Tensor | None, ...]:
        (upstream,), (grad_hidden, grad_head) = gradients, ctx.saved_tensors
        return (grad_hidden * upstream.to(grad_hidden.dtype), None if grad_head is None else grad_head * upstream,
                None, None, None, None)


class ChunkedTokenLosses(torch.autograd.Function):
    """One loss per row; the gradients of `hidden` are ready when forward returns, those of a head are made again."""

    @staticmethod
    def forward(ctx: Any, hidden: Tensor, head: Tensor, targets: Tensor, dtype: torch.dtype,
                soft_cap: float | None, rows: int) -> Tensor:
        weight, wanted = head.to(dtype), ctx.needs_input_grad[0]
        losses = hidden.new_empty(len(hidden), dtype=accumulator(hidden))
        grad_hidden = torch.empty_like(hidden) if wanted else None
        for start in range(0, len(hidden), rows):
            here = slice(start, start + rows)
            losses[here], grad = chunk_loss(hidden[here].to(dtype), weight, targets[here], soft_cap, gradient=wanted)
            if grad_hidden is not None and grad is not None:
                grad_hidden[here] = grad.to(dtype) @ weight
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
            grad_head = torch.zeros(head.shape, dtype=accumulator(hidden), device=head.device)
            for start in range(0, len(hidden), rows):
                here = slice(start, start + rows)
                part = hidden[here].to(dtype)
                _, grad = chunk_loss(part, head.to(dtype), targets[here], soft_cap, gradient=True)
                assert grad is not None
                grad_head += (grad * upstream[here]).to(dtype).T @ part
            grad_head = grad_head.to(head.dtype)
        scaled = None if grad_hidden is None else grad_hidden * upstream.to(grad_hidden.dtype)
        return scaled, grad_head, None, None, None, None
