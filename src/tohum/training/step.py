"""One update: micro-batches -> gradients -> clipped, checked, applied."""

from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import Any, Protocol

import torch
from torch import Tensor, nn
from torch.nn.utils import get_total_norm
from torch.profiler import record_function

from tohum.errors import NonFiniteError
from tohum.seeding import deterministic
from tohum.training.optimizer import Optimizer
from tohum.training.ranks import Ranks

Objective = Callable[[Any], Tensor]  # micro-batch -> loss summed over what it supervises


class MicroBatch(Protocol):
    """Whatever an objective takes; it knows how many terms its loss is a sum of (targets, or pairs)."""

    @property
    def supervised(self) -> int: ...


class Batches(Protocol):
    """Source of training batches: a pure function of the step."""

    def step(self, step: int) -> Iterable[MicroBatch]: ...

    def epoch(self, step: int) -> float: ...


@dataclass(frozen=True, kw_only=True)
class Parts:
    """What the loop works on; stages differ only in these."""

    network: nn.Module
    optimizer: Optimizer
    batches: Batches
    objective: Objective
    ranks: Ranks


@dataclass(frozen=True, kw_only=True)
class StepResult:
    """Figures of one update; loss is the mean over all supervised targets of the step."""

    loss: float
    grad_norm: float
    targets: int


@deterministic()
def optimizer_step(parts: Parts, step: int, *, lr_multiplier: float, clip_norm: float | None) -> StepResult:
    """Sum the loss over all micro-batches and ranks, divide by the number of supervised targets, update.

    However the step is split, the loss is the same. Raises NonFiniteError before the weights move.
    """
    micro_batches = list(parts.batches.step(step))
    counted = torch.tensor(sum(batch.supervised for batch in micro_batches), dtype=torch.int64)
    targets = int(parts.ranks.sum(counted))
    loss = torch.zeros((), dtype=torch.float64)
    for batch in micro_batches:
        part = parts.objective(batch) / targets
        part.backward()
        loss += part.detach().cpu()
    loss = parts.ranks.sum(loss)
    trained = [p for p in parts.network.parameters() if p.grad is not None]
    parts.ranks.sum_gradients(trained)
    grad_norm = get_total_norm([p.grad for p in trained if p.grad is not None])
    if not torch.isfinite(loss) or not torch.isfinite(grad_norm):
        raise NonFiniteError(f"step {step + 1}: loss {float(loss):.4g}, gradient norm {float(grad_norm):.4g}; "
                             "the weights were left unchanged\n"
                             "lower optimizer.lr, or set training.clip_norm=1, and resume from the last checkpoint")
    with record_function("optimizer"):
        shortened = 1.0 if clip_norm is None else clip_norm / (float(grad_norm) + 1e-6)
        parts.optimizer.step(lr_multiplier, shortened=shortened)
    return StepResult(loss=float(loss), grad_norm=float(grad_norm), targets=targets)
