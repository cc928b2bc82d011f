"""Examples: token ids and what is to be learned from each -> one set in memory, with a fingerprint.

A language example supervises the tokens of its answers, a classification example its last token, whose target is
the number of the class. Both are rows of the same kind, so batching, counting and resuming know only one.
"""

import hashlib
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from functools import cached_property

import numpy as np
from numpy.typing import NDArray

from tohum.data_sampling.windows import IGNORED


@dataclass(frozen=True, kw_only=True)
class Example:
    """ids and targets of equal length; targets[i] is what is to be predicted after ids[: i + 1], else IGNORED."""

    ids: Sequence[int]
    targets: Sequence[int]


class ExampleSet:
    """Many examples as two flat arrays; a few bytes per token."""

    def __init__(self, examples: Iterable[Example]):
        ids: list[NDArray[np.int32]] = []
        targets: list[NDArray[np.int32]] = []
        for example in examples:
            assert len(example.ids) == len(example.targets)
            ids.append(np.asarray(example.ids, np.int32))
            targets.append(np.asarray(example.targets, np.int32))
        self.lengths = np.array([len(part) for part in ids], np.int64)  # (N,)
        self.starts = np.cumsum(self.lengths) - self.lengths  # (N,)
        self.ids = np.concatenate(ids) if ids else np.empty(0, np.int32)
        self.targets = np.concatenate(targets) if targets else np.empty(0, np.int32)

    def __len__(self) -> int:
        return len(self.lengths)

    @property
    def tokens(self) -> int:
        """Of all examples."""
        return len(self.ids)

    @property
    def longest(self) -> int:
        """Tokens."""
        return int(self.lengths.max(initial=0))

    @cached_property
    def supervised(self) -> int:
        """Targets that count."""
        return int((self.targets != IGNORED).sum())

    @cached_property
    def fingerprint(self) -> str:
        """Hash of everything that is learned from."""
        digest = hashlib.sha256()
        for array in (self.lengths, self.ids, self.targets):
            digest.update(len(array).to_bytes(8, "little") + np.ascontiguousarray(array).tobytes())
        return digest.hexdigest()
