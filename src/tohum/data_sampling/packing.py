"""Isolated packing: documents -> rows of `max_length` in which no target and no attention crosses documents.

A document of n tokens gives n - 1 pairs (input, target). Documents are put into rows in their order; one that
no longer fits opens the next row ("next fit"), and one longer than a row is cut into whole rows and a rest.

    documents  a b c | d e f g h | i j          max_length 4
    row 0      a b . .        inputs; targets b c . .
    row 1      d e f g        targets e f g h
    row 2      i . . .        targets j . . .
"""

import numpy as np
from numpy.typing import NDArray

from tohum.data_sampling.stream import TokenStream
from tohum.data_sampling.windows import IGNORED, PADDING


class PackedRows:
    """Rows of whole documents; memory is a few numbers per document, no token is held."""

    def __init__(self, tokens: TokenStream, document_starts: NDArray[np.int64], *, max_length: int):
        self._tokens, self._max_length = tokens, max_length
        ends = np.append(document_starts[1:], len(tokens))
        self._piece_starts, self._piece_lengths = cut_documents(document_starts, ends - document_starts - 1,
                                                                max_length)
        self._row_pieces = next_fit(self._piece_lengths, max_length)  # (rows + 1,) first piece of each row
        self.count = len(self._row_pieces) - 1

    def rows(self, index: NDArray[np.int64]) -> dict[str, NDArray[np.int64]]:
        """Row numbers (B,), which go on from pass to pass -> inputs, targets, documents, positions, each (B, T)."""
        T, index = self._max_length, index % self.count
        first, counts = self._row_pieces[index], np.diff(self._row_pieces)[index]
        number = ranges(counts)  # document number inside its row, per piece
        pieces = np.repeat(first, counts) + number
        lengths = self._piece_lengths[pieces]
        positions = ranges(lengths)
        row_start = np.repeat(np.arange(len(index)) * T, counts)
        before = np.cumsum(lengths) - lengths  # pairs in all pieces before
        row_before = np.repeat(before[np.cumsum(counts) - counts], counts)
        places = np.repeat(row_start + before - row_before, lengths) + positions  # flat place in (B * T)
        tokens = np.repeat(self._piece_starts[pieces], lengths) + positions
        columns = {"inputs": (self._tokens.gather(tokens), PADDING),
                   "targets": (self._tokens.gather(tokens + 1), IGNORED),
                   "documents": (np.repeat(number, lengths), -1), "positions": (positions, 0)}
        filled = {}
        for name, (values, empty) in columns.items():
            filled[name] = np.full(len(index) * T, empty, np.int64)
            filled[name][places] = values
        return {name: values.reshape(len(index), T) for name, values in filled.items()}


def cut_documents(starts: NDArray[np.int64], pairs: NDArray[np.int64],
                  max_length: int) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """Documents -> pieces of at most `max_length` pairs: (first token of each, its pairs)."""
    starts, pairs = starts[pairs > 0], pairs[pairs > 0]
    counts = -(-pairs // max_length)
    within = ranges(counts) * max_length
    return np.repeat(starts, counts) + within, np.minimum(np.repeat(pairs, counts) - within, max_length)


def next_fit(lengths: NDArray[np.int64], max_length: int) -> NDArray[np.int64]:
    """The first piece of every row, and the number of pieces at the end."""
    ends = np.cumsum(lengths)
    following = np.searchsorted(ends, ends - lengths + max_length, side="right").data  # plain ints, fast to step
    firsts, piece = [0], 0
    while piece < len(lengths):
        piece = following[piece]
        firsts.append(piece)
    return np.asarray(firsts, np.int64)


def ranges(counts: NDArray[np.int64]) -> NDArray[np.int64]:
    """[2, 3] -> [0, 1, 0, 1, 2]."""
    ends = np.cumsum(counts)
    return np.arange(ends[-1] if len(ends) else 0) - np.repeat(ends - counts, counts)
