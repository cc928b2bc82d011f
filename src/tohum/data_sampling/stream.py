"""Shard files -> one memory-mapped stream of token ids that is sliced and gathered across their borders."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray


class TokenStream:
    """The ids of one source and split. Reading touches only the pages that are asked for."""

    def __init__(self, parts: Sequence[NDArray[Any]]):
        self._parts = [part for part in parts if len(part)]
        self._starts = np.cumsum([0, *(len(part) for part in self._parts)])

    @classmethod
    def map(cls, paths: Sequence[Path], dtype: str) -> "TokenStream":
        """Open shard files of the given number format ("<u2" or "<u4")."""
        maps = [np.memmap(path, dtype=dtype, mode="r") for path in paths if path.stat().st_size]
        return cls([np.asarray(part) for part in maps])  # a plain view is twice as fast to index

    def __len__(self) -> int:
        return int(self._starts[-1])

    def __getitem__(self, piece: slice) -> NDArray[np.int64]:
        """A contiguous stretch as int64."""
        start, stop, step = piece.indices(len(self))
        if step != 1:
            raise ValueError(f"a stream is sliced with step 1, not {step}")
        found = [part[max(0, start - at):max(0, stop - at)]
                 for part, at in zip(self._parts, self._starts, strict=False) if at < stop]
        return np.concatenate([np.empty(0, np.int64), *found]).astype(np.int64)

    def gather(self, places: NDArray[np.int64]) -> NDArray[np.int64]:
        """Ids at the given places, as int64 of the same shape."""
        if len(self._parts) == 1:
            return self._parts[0][places].astype(np.int64)
        ids = np.empty(places.shape, np.int64)
        shards = np.searchsorted(self._starts, places, side="right") - 1
        for shard in np.unique(shards):
            here = shards == shard
            ids[here] = self._parts[shard][places[here] - self._starts[shard]]
        return ids
