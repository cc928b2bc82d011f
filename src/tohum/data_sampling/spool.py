"""Encoded documents that wait on disk, in the order in which they were read, until their sides are decided."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from itertools import groupby
from operator import itemgetter
from pathlib import Path
from typing import BinaryIO

import numpy as np
from numpy.typing import NDArray

from tohum.data_sampling.encoder import utf8_length
from tohum.data_sampling.split import ORDERS, Piece, Side
from tohum.data_sampling.writer import PartWriter
from tohum.tokenizing.fast import Ragged

DOCUMENT = np.dtype([("digest", "<u4", (ORDERS,)), ("tokens", "<i8"), ("text_bytes", "<i8")])
READ_DOCUMENTS = 2**14  # dealt at once
READ_TOKENS = 2**20  # read at once, and kept until they are dealt


class Spool:
    """Two files: the ids of all documents, and of each document its digest and its lengths."""

    def __init__(self, folder: Path, name: str, dtype: str):
        self._ids_path, self._documents_path = folder / f"{name}.ids", folder / f"{name}.documents"
        self._dtype = np.dtype(dtype)
        self._going_on = {"tokens": 0, "text_bytes": 0}  # of the document that has begun
        self._block = np.empty(0, self._dtype)  # read, and not yet dealt
        self._ids: BinaryIO
        self._documents: BinaryIO

    @contextmanager
    def filling(self) -> Iterator[None]:
        """While documents come."""
        with open(self._ids_path, "wb") as self._ids, open(self._documents_path, "wb") as self._documents:
            yield

    def add(self, pieces: list[Piece], encoded: Ragged) -> None:
        """Append a batch."""
        self._ids.write(encoded.ids.astype(self._dtype).data)
        last = np.flatnonzero([piece.ends for piece in pieces])  # pieces in which a document ends
        documents = np.empty(len(last), DOCUMENT)
        documents["digest"] = np.frombuffer(b"".join(piece.digest for piece in pieces), "<u4").reshape(-1, ORDERS)
        sizes = encoded.lengths, np.array([utf8_length(piece.text) for piece in pieces])
        for name, size in zip(("tokens", "text_bytes"), sizes, strict=True):
            upto = self._going_on[name] + np.cumsum(size)
            documents[name] = np.diff(upto[last], prepend=0)
            self._going_on[name] = upto[-1] - (upto[last[-1]] if len(last) else 0)
        self._documents.write(documents.tobytes())

    def deal(self, sides: Callable[[NDArray[np.uint32]], list[Side | None]], parts: dict[Side, PartWriter],
             report: Callable[[int], None]) -> None:
        """Every document to its side, and the spool away; `sides` decides by digests, (documents, ORDERS).

        `report` is told bytes of text.
        """
        with open(self._ids_path, "rb") as file:
            for documents in self._read_documents():
                decided = sides(documents["digest"])
                for side, part in parts.items():
                    mine = documents[[other == side for other in decided]]
                    part.begin(np.cumsum(mine["tokens"]) - mine["tokens"], int(mine["text_bytes"].sum()))
                for side, tokens in runs(decided, documents["tokens"].tolist()):
                    for ids in self._take(file, tokens):
                        if side is not None:
                            parts[side].append(ids)
                report(int(documents["text_bytes"].sum()))
        self._ids_path.unlink()
        self._documents_path.unlink()

    def _take(self, file: BinaryIO, tokens: int) -> Iterator[NDArray[np.integer]]:
        """The next so many ids, whole or in several arrays; the file is read in blocks, as documents are small."""
        while tokens:
            if not len(self._block):
                self._block = np.frombuffer(file.read(READ_TOKENS * self._dtype.itemsize), self._dtype)
                assert len(self._block), f"{self._ids_path} ends before its documents"
            ids, self._block = self._block[:tokens], self._block[tokens:]
            tokens -= len(ids)
            yield ids

    def _read_documents(self) -> Iterator[NDArray[np.void]]:
        """All of them, (n,) DOCUMENT at a time."""
        with open(self._documents_path, "rb") as file:
            while data := file.read(READ_DOCUMENTS * DOCUMENT.itemsize):
                yield np.frombuffer(data, DOCUMENT)


def runs(sides: list[Side | None], tokens: list[int]) -> Iterator[tuple[Side | None, int]]:
    """Neighbours of one side, taken together: the side, and how many tokens they have."""
    for side, run in groupby(zip(sides, tokens, strict=True), key=itemgetter(0)):
        yield side, sum(count for _, count in run)
