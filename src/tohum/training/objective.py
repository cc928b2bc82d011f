"""The language-model objective: batch -> summed next-token cross-entropy, in the arithmetic of the run."""

import contextlib
from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Tensor

from tohum.data_sampling.batch import Batch
from tohum.model.loss import cross_entropy_sum
from tohum.model.network import Network


@dataclass(frozen=True, kw_only=True)
class Precision:
    """Format of matrix products; weights, sums, norms and the optimizer stay in float32 (or float64)."""

    dtype: torch.dtype
    device: torch.device

    def autocast(self) -> contextlib.AbstractContextManager[object]:
        """Casts matrix products of a float32 network down to `dtype`."""
        if self.dtype in (torch.float32, torch.float64):
            return contextlib.nullcontext()
        return torch.autocast(self.device.type, dtype=self.dtype)


def language_objective(network: Network, precision: Precision, *, compiled: bool = False) -> Callable[[Batch], Tensor]:
    """Returns batch -> loss summed over supervised targets (scalar). `compiled` fuses the blocks (torch.compile)."""
    forward = torch.compile(network.hidden, dynamic=False) if compiled else network.hidden

    def objective(batch: Batch) -> Tensor:
        batch = batch.to(precision.device)
        with precision.autocast():
            hidden = forward(batch.inputs, positions=batch.positions, documents=batch.documents)  # (B, T, D)
        return cross_entropy_sum(hidden, network.head_weight, batch.targets, dtype=precision.dtype,
                                 soft_cap=network.config.logit_soft_cap)

    return objective
