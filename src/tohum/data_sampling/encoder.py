"""Pieces of documents -> their token ids, in batches that bound the memory, one ahead of whoever writes them."""

from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor

import numpy as np
from numpy.typing import NDArray

from tohum.data_sampling.split import Piece
from tohum.documents.document import cut
from tohum.errors import DataError
from tohum.tokenizing.tokenizer import Tokenizer

STRETCH_CHARACTERS = 2**17  # longer documents are encoded in several stretches, on all cores
BATCH_PIECES = 4096

Ids = list[NDArray[np.uint32]]


class Encoder:
    """A tokenizer at work on a corpus of about so many characters."""

    def __init__(self, tokenizer: Tokenizer, characters: int):
        self._vocab_size = tokenizer.vocab_size
        self._before, self._after = (np.asarray(marks, np.uint32) for marks in document_marks(tokenizer))
        self._encode, self._batch_characters = tokenizer.corpus_encoder(characters)

    def encoded(self, pieces: Iterable[Piece], report: Callable[[int], None]) -> Iterator[tuple[list[Piece], Ids]]:
        """Batches with the ids of each piece, and the marks that the tokenizer wants around its document.

        The next batch is encoded while the caller has one and another is read. `report` is told bytes of text.
        """
        with ThreadPoolExecutor(1) as pool:
            waiting: tuple[list[Piece], Future[Ids]] | None = None
            for batch in batches(pieces, self._batch_characters):
                started = batch, pool.submit(self._ids, batch)
                if waiting:
                    yield waiting[0], waiting[1].result()
                    report(sum(utf8_length(piece.text) for piece in waiting[0]))
                waiting = started
            if waiting:
                yield waiting[0], waiting[1].result()
                report(sum(utf8_length(piece.text) for piece in waiting[0]))

    def _ids(self, batch: list[Piece]) -> Ids:
        """Those of one batch. Raises DataError for a tokenizer that does not keep to its vocabulary."""
        encoded = self._encode([piece.text for piece in batch])
        largest = max((int(ids.max()) for ids in encoded if len(ids)), default=0)
        if largest >= self._vocab_size:
            raise DataError(f"the tokenizer gave id {largest}, but has {self._vocab_size} entries")
        return [self._marked(piece, ids) for piece, ids in zip(batch, encoded, strict=True)]

    def _marked(self, piece: Piece, ids: NDArray[np.uint32]) -> NDArray[np.uint32]:
        marked = [*([self._before] if piece.starts else []), ids, *([self._after] if piece.ends else [])]
        return np.concatenate(marked) if len(marked) > 1 else ids


def document_marks(tokenizer: Tokenizer) -> tuple[list[int], list[int]]:
    """Ids before and after every document: what `document_ids` puts around a text."""
    marks = tokenizer.document_ids("")
    if tokenizer.eos_id is None or not marks:
        return marks, []
    return marks[:-1], marks[-1:]


def batches(pieces: Iterable[Piece], characters: int) -> Iterator[list[Piece]]:
    """Groups of so many characters; a long piece is cut into several."""
    batch: list[Piece] = []
    size = 0
    for whole in pieces:
        for piece in shortened(whole):
            batch.append(piece)
            size += len(piece.text)
            if size >= characters or len(batch) >= BATCH_PIECES:
                yield batch
                batch, size = [], 0
    if batch:
        yield batch


def shortened(piece: Piece) -> Iterator[Piece]:
    """The piece in stretches that bound the memory of encoding."""
    text, starts = piece.text, piece.starts
    while len(text) > 2 * STRETCH_CHARACTERS:
        head, text = cut(text, STRETCH_CHARACTERS)
        yield piece._replace(text=head, starts=starts, ends=False)
        starts = False
    yield piece._replace(text=text, starts=starts)


def utf8_length(text: str) -> int:
    """Bytes of the text in UTF-8."""
    return len(text) if text.isascii() else len(text.encode("utf-8"))
