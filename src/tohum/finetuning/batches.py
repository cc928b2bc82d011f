"""Batches: a set of examples + step -> the micro-batches of that step, a pure function of (fingerprint, seed, step)."""

from collections.abc import Iterator
from dataclasses import KW_ONLY, dataclass

import numpy as np
from numpy.typing import NDArray

from tohum.data_sampling.batch import Batch
from tohum.data_sampling.order import Permutation
from tohum.finetuning.examples import ExampleSet
from tohum.finetuning.layout import Packing, Vectors, micro_batches


@dataclass(frozen=True)
class Order:
    """Which examples a step takes: each once per epoch, over all ranks, in a keyed order of its own per epoch."""

    size: int
    _: KW_ONLY
    key: str  # fingerprint of the examples and seed
    rows_per_step: int
    rank: int = 0
    world_size: int = 1

    def at(self, step: int) -> NDArray[np.int64]:
        """Numbers of the examples of this rank in that step."""
        first = step * self.rows_per_step
        numbers = np.arange(first + (self.rank - first) % self.world_size, first + self.rows_per_step,
                            self.world_size)
        epochs, places = np.divmod(numbers, self.size)
        found = np.empty_like(places)
        for epoch in np.unique(epochs):
            here = epochs == epoch
            found[here] = Permutation(self.size, f"{self.key}:{epoch}").at(places[here])
        return found

    def epoch(self, step: int) -> float:
        """Passes over the examples before this step."""
        return step * self.rows_per_step / self.size


@dataclass(frozen=True, kw_only=True)
class ExampleBatches:
    """What the training loop reads."""

    examples: ExampleSet
    order: Order
    packing: Packing
    micro_tokens: int
    context: int
    vectors: Vectors | None = None

    def step(self, step: int) -> Iterator[Batch]:
        """The micro-batches of this rank in that optimizer step."""
        yield from micro_batches(self.examples, self.order.at(step), packing=self.packing,
                                 micro_tokens=self.micro_tokens, context=self.context, vectors=self.vectors)

    def epoch(self, step: int) -> float:
        """Passes over the data before this step."""
        return self.order.epoch(step)


def in_order(examples: ExampleSet, *, micro_tokens: int, vectors: Vectors | None = None) -> Iterator[Batch]:
    """All examples, for evaluation: sorted by length, padded, the same micro-batches each time."""
    yield from micro_batches(examples, np.arange(len(examples)), packing="padded", micro_tokens=micro_tokens,
                             context=micro_tokens, vectors=vectors)
