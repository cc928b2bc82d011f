"""Layout: some examples -> micro-batches. How examples are laid out changes speed and memory, never the loss.

    padded     a a a a a .        one example per row, the longest of its micro-batch sets the width; order alone
               b b b b b b        keeps a row from reading its padding
    isolated   a a a a b b b .    several per row; attention and positions stop at each example's edges
               c c c c c d d d
"""

from collections.abc import Iterator, Sequence
from typing import Literal

import numpy as np
import torch
from numpy.typing import NDArray

from tohum.data_sampling.batch import Batch
from tohum.data_sampling.windows import IGNORED, PADDING
from tohum.finetuning.examples import ExampleSet

Packing = Literal["isolated", "padded"]
DEAR_WIDTH = 3000  # tokens of a row at which attention costs as much as the matrices (about six times the width D)
Vectors = NDArray[np.float32]  # (tokens of all examples, D): see frozen.py


def micro_batches(examples: ExampleSet, chosen: NDArray[np.int64], *, packing: Packing, micro_tokens: int,
                  context: int, vectors: Vectors | None = None) -> Iterator[Batch]:
    """The chosen examples (numbers, in any order), in passes of about `micro_tokens` tokens.

    context: of the network, which reads no longer rows.
    """
    by_length = chosen[np.argsort(-examples.lengths[chosen], kind="stable")]
    rows = (packed(examples.lengths, by_length, min(context, micro_tokens)) if packing == "isolated"
            else [[int(number)] for number in by_length])
    for group in groups(examples.lengths, rows, micro_tokens):
        yield assemble(examples, group, vectors)


def packed(lengths: NDArray[np.int64], by_length: NDArray[np.int64], most: int) -> list[list[int]]:
    """Rows of examples, in the width that costs least: narrow rows leave gaps, wide ones cost attention.

    None is wider than `most` tokens, or than the longest example.
    """
    if not len(by_length):
        return []
    longest, total = int(lengths[by_length[0]]), int(lengths[by_length].sum())
    widths = {max(longest, min(most, -(-total // count))) for count in range(1, len(by_length) + 1)}
    tried = [(width, first_fit(lengths, by_length, width)) for width in sorted(widths)]
    return min(tried, key=lambda pair: len(pair[1]) * pair[0] * (1 + pair[0] / DEAR_WIDTH))[1]


def first_fit(lengths: NDArray[np.int64], by_length: NDArray[np.int64], width: int) -> list[list[int]]:
    """First fit decreasing into rows of that width."""
    rows: list[list[int]] = []
    room: list[int] = []
    for number in by_length.tolist():
        size = int(lengths[number])
        place = next((row for row, left in enumerate(room) if left >= size), None)
        if place is None:
            rows.append([number])
            room.append(width - size)
        else:
            rows[place].append(number)
            room[place] -= size
    return rows


def groups(lengths: NDArray[np.int64], rows: Sequence[list[int]], micro_tokens: int) -> Iterator[list[list[int]]]:
    """Rows -> passes; a pass holds at least one row, and rows x width stays within `micro_tokens` where it can."""
    group: list[list[int]] = []
    width = 0
    for row in rows:
        wider = max(width, int(sum(lengths[number] for number in row)))
        if group and wider * (len(group) + 1) > micro_tokens:
            yield group
            group, wider = [], int(sum(lengths[number] for number in row))
        group.append(row)
        width = wider
    if group:
        yield group


def assemble(examples: ExampleSet, group: Sequence[Sequence[int]], vectors: Vectors | None) -> Batch:
    """Rows of examples -> tensors (B, T); documents and positions only where a row holds more than one."""
    width = max(int(sum(examples.lengths[number] for number in row)) for row in group)
    shape = (len(group), width)
    inputs, targets = np.full(shape, PADDING, np.int64), np.full(shape, IGNORED, np.int64)
    documents, positions = np.full(shape, -1, np.int32), np.zeros(shape, np.int64)
    made = None if vectors is None else np.zeros((*shape, vectors.shape[1]), np.float32)
    for line, row in enumerate(group):
        column = 0
        for document, number in enumerate(row):
            start, size = int(examples.starts[number]), int(examples.lengths[number])
            here, there = slice(column, column + size), slice(start, start + size)
            inputs[line, here], targets[line, here] = examples.ids[there], examples.targets[there]
            documents[line, here], positions[line, here] = document, np.arange(size)
            if made is not None and vectors is not None:
                made[line, here] = vectors[there]
            column += size
    alone = all(len(row) == 1 for row in group)
    return Batch(inputs=torch.from_numpy(inputs), targets=torch.from_numpy(targets),
                 documents=None if alone else torch.from_numpy(documents),
                 positions=None if alone else torch.from_numpy(positions),
                 vectors=None if made is None else torch.from_numpy(made))
