"""Data folder + step -> the batches of that step: a pure function of (fingerprint, seed, step), no state but it.

Sample n of a run belongs to a source (mixture.py); the k-th sample of a source is window k mod W of its epoch
k div W, in an order that is a keyed permutation (order.py), and each epoch cuts the text elsewhere (windows.py). So
every source passes through all of its W windows before any comes again, on any number of ranks, and a resumed run needs
nothing but its step.
"""

from collections.abc import Iterator, Sequence
from dataclasses import KW_ONLY, dataclass
from functools import cached_property
from typing import Literal, Protocol

import numpy as np
import torch
from numpy.typing import NDArray

from tohum.data_sampling.batch import Batch
from tohum.data_sampling.mixture import Mixture
from tohum.data_sampling.order import Permutation
from tohum.data_sampling.packing import PackedRows
from tohum.data_sampling.shards import DataFolder, Side
from tohum.data_sampling.stream import TokenStream
from tohum.data_sampling.windows import Windows
from tohum.errors import ConfigError, DataError

Packing = Literal["concatenated", "isolated"]


class Rows(Protocol):
    """Something that cuts `count` rows out of a token stream, and again so many in each further pass."""

    count: int

    def rows(self, index: NDArray[np.int64]) -> dict[str, NDArray[np.int64]]: ...


@dataclass(frozen=True)
class TrainBatches:
    """The training batches of one rank. `stride` None means `max_length`; isolated packing has no other.

    Global samples of step s are numbers [s * rows_per_step, (s + 1) * rows_per_step); rank r takes those with
    n % world_size == r, in micro-batches of at most `micro_batch` rows.
    """

    data: DataFolder
    _: KW_ONLY
    max_length: int
    stride: int | None = None
    packing: Packing = "concatenated"
    seed: int
    rows_per_step: int
    micro_batch: int
    rank: int = 0
    world_size: int = 1

    def __post_init__(self) -> None:
        for name in ("max_length", "rows_per_step", "micro_batch", "world_size"):
            if getattr(self, name) < 1:
                raise ConfigError(f"{name} {getattr(self, name)}: expected 1 or more")
        if self.rows_per_step < self.world_size:
            raise ConfigError(f"{self.rows_per_step} rows per step for {self.world_size} ranks leave some without "
                              "any\nraise training.batch_tokens or use fewer ranks")
        check_stride(self.stride, self.max_length, self.packing)

    @property
    def micro_batches(self) -> int:
        """Per rank and step, at most (the ranks differ by one row where the rows cannot be shared evenly)."""
        rows = -(-self.rows_per_step // self.world_size)
        return -(-rows // self.micro_batch)

    @property
    def rows_per_epoch(self) -> int:
        """Windows of all sources together."""
        return sum(rows.count for rows in self._sources)

    def epoch(self, step: int) -> float:
        """Passes over the data before this step, all sources together."""
        return step * self.rows_per_step / self.rows_per_epoch

    def step(self, step: int) -> Iterator[Batch]:
        """The micro-batches of this rank in that optimizer step, counted from 0."""
        first = step * self.rows_per_step
        numbers = np.arange(first + (self.rank - first) % self.world_size, first + self.rows_per_step,
                            self.world_size)
        sources, windows = self.windows_of(numbers)
        for start in range(0, len(numbers), self.micro_batch):
            part = slice(start, start + self.micro_batch)
            yield gathered(self._sources, sources[part], windows[part])

    def windows_of(self, numbers: NDArray[np.int64]) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
        """Global sample numbers -> (source of each, epoch * W + window inside that source)."""
        sources, samples = self._mixture.at(numbers)
        windows = np.empty_like(samples)
        for source in np.unique(sources):
            mine = sources == source
            epochs, places = np.divmod(samples[mine], self._sources[source].count)
            found = np.empty_like(places)
            for epoch in np.unique(epochs):
                key = f"{self.data.fingerprint}:{self.seed}:{source}:{epoch}"
                here = epochs == epoch
                count = self._sources[source].count
                found[here] = epoch * count + Permutation(count, key).at(places[here])
            windows[mine] = found
        return sources, windows

    @cached_property
    def _mixture(self) -> Mixture:
        return Mixture([source.share for source in self.data.sources])

    @cached_property
    def _sources(self) -> list[Rows]:
        return [rows_of(self.data, source, "train", max_length=self.max_length, stride=self.stride,
                        packing=self.packing) for source in range(len(self.data.sources))]


def check_stride(stride: int | None, max_length: int, packing: Packing) -> None:
    """Raises ConfigError for a stride that cannot be honoured."""
    if stride is not None and stride < 1:
        raise ConfigError(f"data.stride {stride}: expected 1 or more")
    if packing == "isolated" and stride not in (None, max_length):
        raise ConfigError(f"data.stride {stride}: isolated packing puts each document into rows once\n"
                          "leave the stride out, or set data.packing=concatenated")


def rows_of(data: DataFolder, source: int, split: Side, *, max_length: int, stride: int | None,
            packing: Packing) -> Rows:
    """The windows or packed rows of one source. Raises DataError where there is nothing to predict."""
    tokens = data.tokens(source, split)
    rows: Rows
    if packing == "isolated":
        rows = PackedRows(tokens, data.document_starts(source, split), max_length=max_length)
    else:
        rows = Windows(tokens, max_length=max_length, stride=stride or max_length)
    if split == "train" and not rows.count:
        raise DataError(f"{data.path}: source '{data.sources[source].name}' has {len(tokens)} training tokens and "
                        "nothing to predict in them\nadd text and prepare the data again")
    return rows


def gathered(parts: Sequence[Rows], sources: NDArray[np.int64], windows: NDArray[np.int64]) -> Batch:
    """Rows of several sources -> one batch in the given order."""
    if len(parts) == 1 or (sources == sources[0]).all():
        return as_batch(parts[sources[0]].rows(windows))
    columns: dict[str, NDArray[np.int64]] = {}
    for source in np.unique(sources):
        mine = sources == source
        for name, values in parts[source].rows(windows[mine]).items():
            columns.setdefault(name, np.empty((len(sources), values.shape[1]), np.int64))[mine] = values
    return as_batch(columns)


def as_batch(columns: dict[str, NDArray[np.int64]]) -> Batch:
    """Arrays (B, T) -> tensors."""
    tensors = {name: torch.from_numpy(np.ascontiguousarray(values)) for name, values in columns.items()}
    if "documents" in tensors:
        tensors["documents"] = tensors["documents"].to(torch.int32)
    return Batch(**tensors)


def evaluation_batches(data: DataFolder, *, split: Side = "val", max_length: int, rows: int,
                       packing: Packing = "concatenated", limit_rows: int | None = None) -> Iterator[Batch]:
    """Non-overlapping windows in order: every token but the first of a source is a target exactly once.

    `rows` windows per batch. `limit_rows`: only so many windows, evenly spread over all of them.
    Raises DataError when the split is empty.
    """
    parts = [rows_of(data, source, split, max_length=max_length, stride=None, packing=packing)
             for source in range(len(data.sources))]
    counts = [part.count for part in parts]
    if not sum(counts):
        raise DataError(f"{data.path}: no {split} tokens to evaluate on\n"
                        "prepare the data again with a larger --val-fraction")
    chosen = np.arange(sum(counts))
    if limit_rows is not None and limit_rows < len(chosen):
        chosen = np.arange(limit_rows) * len(chosen) // limit_rows
    ends = np.cumsum(counts)
    sources = np.searchsorted(ends, chosen, side="right")
    windows = chosen - (ends - np.asarray(counts, np.int64))[sources]
    for start in range(0, len(chosen), rows):
        yield gathered(parts, sources[start:start + rows], windows[start:start + rows])


def text_batches(ids: Sequence[int] | NDArray[np.int64], *, max_length: int, rows: int) -> Iterator[Batch]:
    """Non-overlapping windows over given ids, in order; every id but the first is a target exactly once."""
    windows = Windows(TokenStream([np.asarray(ids, np.int64)]), max_length=max_length, stride=max_length)
    for start in range(0, windows.count, rows):
        yield as_batch(windows.rows(np.arange(start, min(start + rows, windows.count))))
