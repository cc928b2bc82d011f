"""Pieces of documents -> their token ids, in batches that bound the memory, a few ahead of whoever writes them."""

from collections import deque
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from itertools import chain

import numpy as np

from tohum.data_sampling.split import Piece
from tohum.documents.document import cut
from tohum.errors import DataError
from tohum.tokenizing.fast import Ragged
from tohum.tokenizing.tokenizer import Tokenizer

STRETCH_CHARACTERS = 2**17  # longer documents are encoded in several stretches, on all cores
BATCH_PIECES = 2**15
AHEAD = 2  # batches; with one the encoder waits where reading takes longer for a while


class Encoder:
    """A tokenizer at work on a corpus of about so many characters."""

    def __init__(self, tokenizer: Tokenizer, characters: int):
        self._vocab_size = tokenizer.vocab_size
        self._marks = document_marks(tokenizer)
        self._encode, self._batch_characters = tokenizer.corpus_encoder(characters)

    def encoded(self, pieces: Iterable[Piece], report: Callable[[int], None]) -> Iterator[tuple[list[Piece], Ragged]]:
        """Batches with the ids of each piece, and the marks that the tokenizer wants around its document.

        AHEAD batches are encoded or wait for it while the caller has one and another is read. `report` is told bytes
        of text.
        """
        with ThreadPoolExecutor(1) as pool:
            waiting: deque[tuple[list[Piece], Future[Ragged]]] = deque()
            for batch in chain(batches(pieces, self._batch_characters), [None] * AHEAD):
                if batch:
                    waiting.append((batch, pool.submit(self._ids, batch)))
                if len(waiting) > AHEAD or (waiting and not batch):
                    done, ids = waiting.popleft()
                    yield done, ids.result()
                    report(sum(utf8_length(piece.text) for piece in done))

    def _ids(self, batch: list[Piece]) -> Ragged:
        """Those of one batch. Raises DataError for a tokenizer that does not keep to its vocabulary."""
        found = self._encode([piece.text for piece in batch])
        if len(found.ids) and (largest := int(found.ids.max())) >= self._vocab_size:
            raise DataError(f"the tokenizer gave id {largest}, but has {self._vocab_size} entries")
        return marked(found, batch, *self._marks) if any(self._marks) else found


def marked(found: Ragged, batch: list[Piece], before: list[int], after: list[int]) -> Ragged:
    """The ids with marks where documents begin and end."""
    ends = np.cumsum(found.lengths)
    places = np.stack([ends - found.lengths, ends], axis=1)  # (pieces, 2): where a piece begins and ends
    wanted = np.array([(piece.starts, piece.ends) for piece in batch])  # (pieces, 2)
    counts = np.where(wanted, np.array([len(before), len(after)]), 0)
    marks = [mark for starts, ends in wanted.tolist() for mark in before * starts + after * ends]
    ids = np.insert(found.ids, np.repeat(places.ravel(), counts.ravel()), np.array(marks, np.uint32))
    return Ragged(ids, found.lengths + counts.sum(axis=1))


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
        yield Piece(head, piece.side, starts, ends=False)
        starts = False
    yield piece if text is piece.text else piece._replace(text=text, starts=starts)


def utf8_length(text: str) -> int:
    """Bytes of the text in UTF-8."""
    return len(text) if text.isascii() else len(text.encode("utf-8"))
