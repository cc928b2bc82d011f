"""Many processes as one: sums over ranks, decisions that all ranks share. One process needs none of it."""

import os
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

import torch
import torch.distributed as dist
from torch import Tensor


def main_process() -> bool:
    """True for the one process, of those that torchrun started, that prints."""
    return os.environ.get("RANK", "0") == "0"


@dataclass(frozen=True, kw_only=True)
class Ranks:
    """This process among `world_size`; with one process every method is the identity."""

    rank: int = 0
    world_size: int = 1

    @classmethod
    def from_environment(cls, device: torch.device) -> "Ranks":
        """What torchrun says; starts the process group (gloo on CPUs, nccl on GPUs)."""
        world_size = int(os.environ.get("WORLD_SIZE", "1"))
        if world_size == 1:
            return cls()
        if not dist.is_initialized():
            dist.init_process_group("nccl" if device.type == "cuda" else "gloo")
        return cls(rank=dist.get_rank(), world_size=dist.get_world_size())

    @property
    def is_main(self) -> bool:
        """True for the one rank that writes files and prints."""
        return self.rank == 0

    def sum(self, value: Tensor) -> Tensor:
        """Sum of a small tensor over all ranks."""
        if self.world_size > 1:
            value = value.clone()
            dist.all_reduce(value)
        return value

    def any(self, flag: bool) -> bool:
        """True everywhere when it is true anywhere: all ranks stop at the same step."""
        return flag if self.world_size == 1 else bool(self.sum(torch.tensor(float(flag))) > 0)

    def first(self, values: Sequence[float]) -> list[float]:
        """The first process's numbers, everywhere: what depends on a clock is decided once."""
        own = torch.tensor(values if self.is_main else [0] * len(values), dtype=torch.float64)
        return self.sum(own).tolist()

    def sum_gradients(self, parameters: Iterable[Tensor]) -> None:
        """Add up the gradients of all ranks in one flat message; each rank has normalised by all targets."""
        if self.world_size == 1:
            return
        gradients = [p.grad for p in parameters if p.grad is not None]
        flat = torch.cat([g.reshape(-1) for g in gradients])
        dist.all_reduce(flat)
        for gradient, piece in zip(gradients, flat.split([g.numel() for g in gradients]), strict=True):
            gradient.copy_(piece.view_as(gradient))

    def wait(self) -> None:
        """Until every rank is here."""
        if self.world_size > 1:
            dist.barrier()
