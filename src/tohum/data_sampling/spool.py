"""Encoded documents that wait on disk, in the order in which they were read, until their sides are decided."""

import os
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from itertools import groupby
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
READ_TOKENS = 2**20  # copied at once


class Spool:
    """Two files: the ids of all documents, and of each document its digest and its lengths."""

    def __init__(self, folder: Path, name: str, dtype: str):
        self._ids_path, self._documents_path = folder / f"{name}.ids", folder / f"{name}.documents"
        self._dtype = np.dtype(dtype)
        self._going_on = {"tokens": 0, "text_bytes": 0}  # of the document that has begun
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
        with open(self._ids_path, "rb") as ids:
            for documents in self._read_documents():
                at = 0
                for side, run in groupby(sides(documents["digest"])):
                    here = documents[at : at + len(list(run))]
                    at += len(here)
                    tokens = int(here["tokens"].sum())
                    if side is None:
                        ids.seek(tokens * self._dtype.itemsize, os.SEEK_CUR)
                        continue
                    parts[side].begin(np.cumsum(here["tokens"]) - here["tokens"], int(here["text_bytes"].sum()))
                    for start in range(0, tokens, READ_TOKENS):
                        block = ids.read(min(READ_TOKENS, tokens - start) * self._dtype.itemsize)
                        parts[side].append(np.frombuffer(block, self._dtype))
                report(int(documents["text_bytes"].sum()))
        self._ids_path.unlink()
        self._documents_path.unlink()

    def _read_documents(self) -> Iterator[NDArray[np.void]]:
        """All of them, (n,) DOCUMENT at a time."""
        with open(self._documents_path, "rb") as file:
            while data := file.read(READ_DOCUMENTS * DOCUMENT.itemsize):
                yield np.frombuffer(data, DOCUMENT)
