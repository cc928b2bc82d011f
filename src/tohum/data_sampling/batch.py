"""One micro-batch: what goes into the network and what it is to predict."""

from dataclasses import dataclass

import torch
from torch import Tensor

from tohum.data_sampling.windows import IGNORED

__all__ = ["IGNORED", "Batch"]


@dataclass(frozen=True, kw_only=True)
class Batch:
    """Rows of token ids and their targets, one token further."""

    inputs: Tensor  # (B, T) int64
    targets: Tensor  # (B, T) int64; IGNORED where nothing is to be predicted
    documents: Tensor | None = None  # (B, T) int32: document inside the row, -1 padding; None: one stream
    positions: Tensor | None = None  # (B, T) int64: place inside the document; None: 0..T-1
    branches: Tensor | None = None  # (B, T) int32: ends of a document that share its beginning, 0; None: no such
    vectors: Tensor | None = None  # (B, T, D): what frozen blocks made of the inputs, computed once; None: not yet

    @property
    def supervised(self) -> int:
        """Targets that count."""
        return int((self.targets != IGNORED).sum())

    def to(self, device: torch.device | str) -> "Batch":
        """The same batch on another device."""
        def moved(tensor: Tensor | None) -> Tensor | None:
            return None if tensor is None else tensor.to(device, non_blocking=True)

        return Batch(inputs=self.inputs.to(device, non_blocking=True),
                     targets=self.targets.to(device, non_blocking=True), documents=moved(self.documents),
                     positions=moved(self.positions), branches=moved(self.branches), vectors=moved(self.vectors))
