"""The language-model objective: batch -> summed next-token cross-entropy, in the arithmetic of the run."""

import contextlib
from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Tensor
from torch.profiler import record_function

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


def hidden_of(network: Network, batch: Batch, first_block: int = 0) -> Tensor:
    """Vectors after the final norm (B, T, D); from the vectors in front of `first_block` where the batch has them."""
    if batch.vectors is None:
        return network.hidden(batch.inputs, positions=batch.positions, documents=batch.documents)
    stream = network.stream(batch.inputs, positions=batch.positions, documents=batch.documents, vectors=batch.vectors,
                            blocks=range(first_block, len(network.blocks)))
    return network.final_norm(stream)


def language_objective(network: Network, precision: Precision, *, compiled: bool = False,
                       first_block: int = 0) -> Callable[[Batch], Tensor]:
    """Returns batch -> loss summed over supervised targets (scalar). `compiled` fuses the blocks (torch.compile)."""
    network.embedding.token.adds_rows = True
    forward = torch.compile(hidden_of, dynamic=False) if compiled else hidden_of

    def objective(batch: Batch) -> Tensor:
        batch = batch.to(precision.device)
        with precision.autocast():
            hidden = forward(network, batch, first_block)  # (B, T, D)
        with record_function("loss"):
            return cross_entropy_sum(hidden, network.head_weight, batch.targets, dtype=precision.dtype,
                                     soft_cap=network.config.logit_soft_cap)

    return objective
