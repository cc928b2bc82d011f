"""Trees: answers to one prompt -> the prompt once, as a trunk, and a branch for each answer; several trees in a row.

    padded rows            a row of trees
    p p p p p a a a        p p p p p a a a b b q q q c d d d
    p p p p p b b .        0 0 0 0 0 0 0 0 0 0 1 1 1 1 1 1 1   documents
    q q q c . . . .        0 0 0 0 0 1 1 1 2 2 0 0 0 1 2 2 2   branches: each reads itself and 0
    q q q d d d . .        0 1 2 3 4 5 6 7 5 6 0 1 2 3 3 4 5   positions

A trunk is what the answers have in common before the first token that is learned, so every target has a place of its
own: the last token of a prompt, behind which the answers part, stands in each branch.
"""

from collections.abc import Iterator, Sequence
from typing import NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from tohum.data_sampling.batch import Batch
from tohum.data_sampling.windows import IGNORED, PADDING
from tohum.finetuning.examples import ExampleSet
from tohum.finetuning.layout import groups, packed

NOBODY = -1  # the answer of a token of a prompt, or of padding


class Trees:
    """Sets of equal length: tree n has the n-th example of each set as a branch."""

    def __init__(self, sets: Sequence[ExampleSet]):
        self.sets = sets
        count = len(sets[0])
        assert all(len(examples) == count for examples in sets)
        self.trunks = np.array([self.trunk(number) for number in range(count)], np.int64)  # (N,) tokens
        ends = [examples.lengths - self.trunks for examples in sets]
        self.lengths = self.trunks + np.sum(ends, axis=0)  # (N,) tokens of a tree

    def trunk(self, number: int) -> int:
        """Tokens at the beginning that all branches share, before anything is learned; none for a single branch."""
        if len(self.sets) == 1:
            return 0
        parts = [self.branch(side, number) for side in range(len(self.sets))]
        most = min(len(ids) for ids, _ in parts)
        first = parts[0][0][:most]
        alike = np.all([(ids[:most] == first) & (targets[:most] == IGNORED) for ids, targets in parts], axis=0)
        return int(alike.argmin()) if not alike.all() else most

    def branch(self, side: int, number: int) -> tuple[NDArray[np.int32], NDArray[np.int32]]:
        """ids and targets of an example."""
        examples = self.sets[side]
        here = slice(int(examples.starts[number]), int(examples.starts[number] + examples.lengths[number]))
        return examples.ids[here], examples.targets[here]

    def passes(self, chosen: NDArray[np.int64], *, micro_tokens: int,
               context: int) -> Iterator[tuple[list[int], Batch, Tensor]]:
        """Trees (numbers, in any order) -> the numbers in a pass, its rows, and the answer of each token (B, T).

        Answer k * P + i is that of branch k of the i-th of the P trees of the pass. A tree that is longer than
        `context`, though none of its answers is, is laid out as rows of one answer.
        """
        by_length = chosen[np.argsort(-self.lengths[chosen], kind="stable")]
        wide = self.lengths[by_length] > context
        for number in by_length[wide].tolist():
            yield [number], *self.assemble([[Part(number, 0, side)] for side in range(len(self.sets))], 1)
        rows = packed(self.lengths, by_length[~wide], min(context, micro_tokens))
        for group in groups(self.lengths, rows, micro_tokens):
            numbers = [number for row in group for number in row]
            places = iter(range(len(numbers)))  # the same tree may stand in a pass twice: where an epoch ends
            yield numbers, *self.assemble([[Part(number, next(places)) for number in row] for row in group],
                                          len(numbers))

    def assemble(self, rows: Sequence[Sequence["Part"]], count: int) -> tuple[Batch, Tensor]:
        """Rows -> tensors; documents and branches only where they decide. count: trees of the pass."""
        pieces = [[piece for document, part in enumerate(row) for piece in self.pieces(document, part, count)]
                  for row in rows]
        shape = (len(rows), max(sum(len(piece.ids) for piece in row) for row in pieces))
        inputs, targets = np.full(shape, PADDING, np.int64), np.full(shape, IGNORED, np.int64)
        documents, branches = np.full(shape, -1, np.int32), np.zeros(shape, np.int32)
        positions, answers = np.zeros(shape, np.int64), np.full(shape, NOBODY, np.int64)
        for line, row in enumerate(pieces):
            column = 0
            for piece in row:
                here = slice(column, column + len(piece.ids))
                inputs[line, here], targets[line, here] = piece.ids, piece.targets
                documents[line, here], branches[line, here] = piece.document, piece.branch
                positions[line, here] = np.arange(piece.start, piece.start + len(piece.ids))
                answers[line, here] = piece.answer
                column += len(piece.ids)
        alone = all(len(row) == 1 for row in pieces)  # one text per row: order alone keeps it from its padding
        batch = Batch(inputs=torch.from_numpy(inputs), targets=torch.from_numpy(targets),
                      documents=None if alone else torch.from_numpy(documents),
                      branches=None if alone else torch.from_numpy(branches),
                      positions=None if alone else torch.from_numpy(positions))
        return batch, torch.from_numpy(answers)

    def pieces(self, document: int, part: "Part", count: int) -> Iterator["Piece"]:
        """Trunk and branches of a tree, or one whole example of it."""
        trunk = int(self.trunks[part.number]) if part.side is None else 0
        if trunk:
            ids, targets = self.branch(0, part.number)
            yield Piece(ids[:trunk], targets[:trunk], 0, document, 0, NOBODY)
        for side in range(len(self.sets)) if part.side is None else [part.side]:
            ids, targets = self.branch(side, part.number)
            yield Piece(ids[trunk:], targets[trunk:], trunk, document, side + 1, side * count + part.place)


class Part(NamedTuple):
    """A tree of a pass, or one of its examples alone."""

    number: int
    place: int  # of the tree in the pass
    side: int | None = None


class Piece(NamedTuple):
    """Neighbouring tokens of a row."""

    ids: NDArray[np.int32]
    targets: NDArray[np.int32]
    start: int  # position of the first
    document: int
    branch: int
    answer: int
