"""Batches of answers: aligned sets of chosen and rejected examples (or marked single ones) + step -> micro-batches."""

from collections.abc import Callable, Iterator
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from tohum.data_sampling.batch import Batch
from tohum.finetuning.batches import Order
from tohum.finetuning.examples import ExampleSet
from tohum.finetuning.layout import assemble


@dataclass(frozen=True, kw_only=True)
class AnswerBatch:
    """Rows of answers. Pairs: the first half of the rows are the chosen ones, the second half, in the same order,
    the rejected ones. Single answers (KTO): `desirable` marks each row, `kl` is the step's estimate."""

    rows: Batch
    desirable: Tensor | None = None  # (B,) bool
    kl: Tensor | None = None  # scalar

    @property
    def supervised(self) -> int:
        """Pairs, or single answers."""
        return len(self.rows.inputs) // (2 if self.desirable is None else 1)

    def to(self, device: torch.device) -> "AnswerBatch":
        """The same on another device."""
        marks = None if self.desirable is None else self.desirable.to(device)
        return AnswerBatch(rows=self.rows.to(device), desirable=marks,
                           kl=None if self.kl is None else self.kl.to(device))


@dataclass(frozen=True, kw_only=True)
class PairBatches:
    """Pairs, padded: a pass holds both answers of each of its pairs."""

    chosen: ExampleSet
    rejected: ExampleSet
    order: Order
    micro_tokens: int

    def step(self, step: int) -> Iterator[AnswerBatch]:
        """The micro-batches of this rank in that optimizer step."""
        yield from self.batches(self.order.at(step))

    def epoch(self, step: int) -> float:
        """Passes over the pairs before this step."""
        return self.order.epoch(step)

    def in_order(self) -> Iterator[AnswerBatch]:
        """Every pair once, for validation."""
        yield from self.batches(np.arange(len(self.chosen)))

    def batches(self, numbers: NDArray[np.int64]) -> Iterator[AnswerBatch]:
        """Pairs of like length together."""
        longest = np.maximum(self.chosen.lengths, self.rejected.lengths)
        for group in passes(numbers, longest, self.micro_tokens // 2):
            yield AnswerBatch(rows=stacked(assemble(self.chosen, [[n] for n in group], None),
                                           assemble(self.rejected, [[n] for n in group], None)))


@dataclass(frozen=True, kw_only=True)
class SingleBatches:
    """Single answers, desirable or not. `kl` is asked for the step's estimate before its first pass."""

    answers: ExampleSet
    desirable: NDArray[np.bool_]
    mismatched: ExampleSet  # the answer of row n after the prompt of another row, for the estimate
    order: Order
    micro_tokens: int
    kl: Callable[[list[Batch]], Tensor]

    def step(self, step: int) -> Iterator[AnswerBatch]:
        """The micro-batches of this rank in that optimizer step."""
        yield from self.batches(self.order.at(step))

    def epoch(self, step: int) -> float:
        """Passes over the answers before this step."""
        return self.order.epoch(step)

    def in_order(self) -> Iterator[AnswerBatch]:
        """Every answer once, for validation."""
        yield from self.batches(np.arange(len(self.answers)))

    def batches(self, numbers: NDArray[np.int64]) -> Iterator[AnswerBatch]:
        """The estimate over all of them first: however they are split, it is the same."""
        strangers = [assemble(self.mismatched, [[n] for n in group], None)
                     for group in passes(numbers, self.mismatched.lengths, self.micro_tokens)]
        kl = self.kl(strangers)
        for group in passes(numbers, self.answers.lengths, self.micro_tokens):
            yield AnswerBatch(rows=assemble(self.answers, [[n] for n in group], None), kl=kl,
                              desirable=torch.from_numpy(self.desirable[np.asarray(group)]))


def passes(numbers: NDArray[np.int64], lengths: NDArray[np.int64], tokens: int) -> Iterator[list[int]]:
    """Numbers by falling length, as many to a pass as fit `tokens` padded, one at least."""
    group: list[int] = []
    for number in numbers[np.argsort(-lengths[numbers], kind="stable")].tolist():
        if group and int(lengths[group[0]]) * (len(group) + 1) > tokens:
            yield group
            group = []
        group.append(number)
    if group:
        yield group


def stacked(first: Batch, second: Batch) -> Batch:
    """Rows of both, padded to the longer."""
    width = max(first.inputs.shape[1], second.inputs.shape[1])

    def both(a: Tensor, b: Tensor, empty: int) -> Tensor:
        return torch.cat([torch.nn.functional.pad(part, (0, width - part.shape[1]), value=empty) for part in (a, b)])

    return Batch(inputs=both(first.inputs, second.inputs, 0), targets=both(first.targets, second.targets, -100))
