"""Batches of answers: aligned sets of chosen and rejected examples (or marked single ones) + step -> micro-batches.

The answers to one prompt are branches of one trunk, and several of them lie in a row (preference/trees.py): a prompt
is read once for both answers of a pair, and no pass holds more padding than it must. The loss is that of one answer
per row.
"""

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import cached_property

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from tohum.data_sampling.batch import Batch
from tohum.finetuning.batches import Order
from tohum.finetuning.examples import ExampleSet
from tohum.preference.trees import Trees


@dataclass(frozen=True, kw_only=True)
class AnswerBatch:
    """Rows of answers. Pairs: answers 0 to P - 1 are the chosen ones, P to 2P - 1, in the same order, the rejected
    ones. Single answers (KTO): `desirable` marks each, `kl` is the step's estimate."""

    rows: Batch
    answers: Tensor  # (B, T) int64: number of the answer that a token belongs to, -1 for prompts and padding
    count: int  # answers
    desirable: Tensor | None = None  # (count,) bool
    kl: Tensor | None = None  # scalar

    @property
    def supervised(self) -> int:
        """Pairs, or single answers."""
        return self.count // (2 if self.desirable is None else 1)

    def to(self, device: torch.device) -> "AnswerBatch":
        """The same on another device."""
        marks = None if self.desirable is None else self.desirable.to(device)
        return AnswerBatch(rows=self.rows.to(device), answers=self.answers.to(device), count=self.count,
                           desirable=marks, kl=None if self.kl is None else self.kl.to(device))


@dataclass(frozen=True, kw_only=True)
class PairBatches:
    """Pairs: a pass holds both answers of each of its pairs."""

    chosen: ExampleSet
    rejected: ExampleSet
    order: Order
    micro_tokens: int
    context: int  # of the network, which reads no longer rows

    @cached_property
    def trees(self) -> Trees:
        """One for each pair."""
        return Trees([self.chosen, self.rejected])

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
        for group, rows, answers in self.trees.passes(
                numbers, micro_tokens=self.micro_tokens, context=self.context):
            yield AnswerBatch(rows=rows, answers=answers, count=2 * len(group))


@dataclass(frozen=True, kw_only=True)
class SingleBatches:
    """Single answers, desirable or not. `kl` is asked for the step's estimate before its first pass."""

    answers: ExampleSet
    desirable: NDArray[np.bool_]
    mismatched: ExampleSet  # the answer of row n after the prompt of another row, for the estimate
    order: Order
    micro_tokens: int
    context: int  # of the network, which reads no longer rows
    kl: Callable[[list[AnswerBatch]], Tensor]

    @cached_property
    def trees(self) -> tuple[Trees, Trees]:
        """Answers and mismatched ones: a branch each."""
        return Trees([self.answers]), Trees([self.mismatched])

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
        size = {"micro_tokens": self.micro_tokens, "context": self.context}
        own, mismatched = self.trees
        kl = self.kl([AnswerBatch(rows=rows, answers=answers, count=len(group))
                      for group, rows, answers in mismatched.passes(numbers, **size)])
        for group, rows, answers in own.passes(numbers, **size):
            yield AnswerBatch(rows=rows, answers=answers, count=len(group), kl=kl,
                              desirable=torch.from_numpy(self.desirable[np.asarray(group)]))
