"""Documents -> train or validation, by content: copies of a document are always on the same side.

Sources of 20 and more different documents are split by a keyed hash of each document. Smaller ones (a book in
one file) give the last `val_fraction` of their characters; copies of their documents are left out everywhere
else, for the tail of a copy would repeat what training has seen. Memory is constant.
"""

import hashlib
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from typing import Literal, NamedTuple

import numpy as np
from numpy.typing import NDArray

from tohum.documents.document import Document

FEWEST_DOCUMENTS = 20  # below it, documents are too coarse to be split one by one
ORDERS = 8  # independent hash orders; the one whose cut comes closest to the fraction is taken
BUCKETS = 2**16
DIGEST_BYTES = 4 * ORDERS
KEY = b"tohum validation split"
SCAN_DOCUMENTS = 4096  # counted at once, which numpy does faster than Python one by one

Side = Literal["train", "val"]


class Piece(NamedTuple):
    """A stretch of one document; `starts` and `ends` say whether its ends are the document's."""

    text: str
    side: Side | None  # None: not decided yet
    starts: bool
    ends: bool
    digest: bytes = b""  # of the whole document, at its end, where it is read before its side is decided


@dataclass
class Scan:
    """What the first pass learns about one source."""

    documents: int = 0
    first: dict[bytes, int] = field(default_factory=dict)  # characters of the first different documents
    long_documents: dict[int, bytes] = field(default_factory=dict)  # number -> digest of those in pieces
    by_bucket: NDArray[np.int64] = field(default_factory=lambda: np.zeros((ORDERS, BUCKETS), np.int64))
    lowest: NDArray[np.int64] = field(default_factory=lambda: np.full(ORDERS, BUCKETS, np.int64))
    highest: NDArray[np.int64] = field(default_factory=lambda: np.full(ORDERS, -1, np.int64))

    @property
    def small(self) -> bool:
        """Split by characters, not by documents?"""
        return len(self.first) < FEWEST_DOCUMENTS

    def count(self, digests: list[bytes], characters: list[int]) -> None:
        """Add some documents to the histograms."""
        buckets = buckets_of(digests)
        for order in range(ORDERS):
            np.add.at(self.by_bucket[order], buckets[:, order], characters)
        self.lowest = np.minimum(self.lowest, buckets.min(axis=0))
        self.highest = np.maximum(self.highest, buckets.max(axis=0))


def new_hash() -> "hashlib.blake2b":
    """A hash of content only: its eight 32-bit words are eight independent orders."""
    return hashlib.blake2b(key=KEY, digest_size=DIGEST_BYTES)


def digest_of(text: str) -> bytes:
    """32 bytes that depend on nothing but the text."""
    return hashlib.blake2b(text.encode("utf-8", "surrogatepass"), key=KEY, digest_size=DIGEST_BYTES).digest()


def buckets_of(digests: Sequence[bytes]) -> NDArray[np.int64]:
    """(documents, ORDERS): the place of every document in each order, 0..65,535."""
    words = np.frombuffer(b"".join(digests), "<u4").reshape(-1, ORDERS)
    return (words >> 16).astype(np.int64)


def watched(documents: Iterable[Document], found: Scan) -> Iterator[Piece]:
    """The documents as they come, undecided, while `found` learns about them."""
    digests: list[bytes] = []
    sizes: list[int] = []
    hasher, size, starts = new_hash(), 0, True
    for document in documents:
        hasher.update(document.text.encode("utf-8", "surrogatepass"))
        size += len(document.text)
        if document.continues:
            yield Piece(document.text, None, starts, ends=False)
            starts = False
            continue
        digest = hasher.digest()
        if not starts:
            found.long_documents[found.documents] = digest
        if found.small:
            found.first.setdefault(digest, size)
        digests.append(digest)
        sizes.append(size)
        found.documents += 1
        if len(digests) == SCAN_DOCUMENTS:
            found.count(digests, sizes)
            digests, sizes = [], []
        yield Piece(document.text, None, starts, True, digest)
        hasher, size, starts = new_hash(), 0, True
    if digests:
        found.count(digests, sizes)


def scan(documents: Iterable[Document]) -> Scan:
    """All that `watched` learns about a source."""
    found = Scan()
    for _ in watched(documents, found):
        pass
    return found


def scan_if_small(documents: Iterable[Document], report: Callable[[int], None]) -> Scan | None:
    """The scan of a small source; None as soon as it shows that it is none. `report` is told characters."""
    found = Scan()
    for piece in watched(documents, found):
        if not found.small:
            return None
        report(len(piece.text))
    return found


class Splitter:
    """Decides for every document, from the scans of all sources and the fraction alone."""

    def __init__(self, scans: Sequence[Scan], val_fraction: float):
        self._scans = scans
        self.dropped = [0] * len(scans)  # copies left out, per source
        self._owner: dict[bytes, int] = {}  # document of a small source -> the source that keeps it
        self._cuts: dict[int, int] = {}  # small source -> characters of its training part
        for source, found in enumerate(scans):
            if found.small:
                mine = {digest: size for digest, size in found.first.items() if digest not in self._owner}
                self._owner |= dict.fromkeys(mine, source)
                self._cuts[source] = int(sum(mine.values()) * (1 - val_fraction))
        large = [found for found in scans if not found.small]
        self._order, self._threshold = choose_cut(large, val_fraction) if large and val_fraction else (0, 0)

    def by_characters(self, source: int) -> bool:
        """Is this a small source?"""
        return source in self._cuts

    def pieces(self, source: int, documents: Iterable[Document]) -> Iterator[Piece]:
        """Second pass: the documents of a source with their sides; one on the cut becomes two pieces."""
        kept: set[bytes] = set()
        number, at, starts = 0, 0, True
        digest, drop = b"", False
        for document in documents:
            if starts:
                digest = self._scans[source].long_documents.get(number) or digest_of(document.text)
                drop = digest in kept or self._is_elsewhere(digest, source)
                self.dropped[source] += drop
                if source in self._cuts:
                    kept.add(digest)
            if not drop:
                yield from self._sides(source, Piece(document.text, "train", starts, not document.continues),
                                       at, digest)
                at += len(document.text)
            starts = not document.continues
            number += starts

    def sides(self, source: int, digests: NDArray[np.uint32]) -> list[Side | None]:
        """Those of whole documents of a large source, by their digests (documents, ORDERS); None: left out."""
        hidden = (digests[:, self._order] >> 16) < self._threshold
        found: list[Side | None] = ["val" if here else "train" for here in hidden]
        if self._owner:
            for number, digest in enumerate(digests):
                if self._is_elsewhere(digest.tobytes(), source):
                    found[number] = None
                    self.dropped[source] += 1
        return found

    def _is_elsewhere(self, digest: bytes, source: int) -> bool:
        """Does a small source keep this document?"""
        return self._owner.get(digest, source) != source

    def _sides(self, source: int, piece: Piece, at: int, digest: bytes) -> Iterator[Piece]:
        """The piece, which begins at character `at` of its source, with its side."""
        if source not in self._cuts:
            hidden = buckets_of([digest])[0, self._order] < self._threshold
            yield piece._replace(side="val" if hidden else "train")
            return
        cut = min(max(self._cuts[source] - at, 0), len(piece.text))
        if cut:
            yield Piece(piece.text[:cut], "train", piece.starts, piece.ends and cut == len(piece.text))
        if cut < len(piece.text):
            yield Piece(piece.text[cut:], "val", piece.starts and cut == 0, piece.ends)


def choose_cut(scans: Sequence[Scan], val_fraction: float) -> tuple[int, int]:
    """(order, threshold): documents below it validate; every source gets both sides if any order does that."""
    candidates = []
    for order in range(ORDERS):
        upto = np.cumsum(np.sum([found.by_bucket[order] for found in scans], axis=0))  # characters in 0..bucket
        wanted = upto[-1] * val_fraction
        miss = np.where((upto > 0) & (upto < upto[-1]), np.abs(upto - wanted), np.inf)
        threshold = 1 + int(np.argmin(miss))
        lacking = sum(int(found.lowest[order] >= threshold or found.highest[order] < threshold)
                      for found in scans)
        candidates.append((lacking, float(miss[threshold - 1]), order, threshold))
    return min(candidates)[2:]
