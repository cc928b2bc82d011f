"""An even sample of a text that is too large to learn a vocabulary from: sources -> at most so many bytes of it."""

from collections.abc import Iterator, Sequence

from tohum.documents.document import Source

BLOCK_CHARACTERS = 16_384  # the sample is taken in blocks of this size, evenly spread over all documents
LARGEST_EXPANSION = 20  # compressed text is at most about this many times as large as its file


class EvenSample:
    """Iterates over texts; afterwards `seen_bytes` and `taken_bytes` tell what was read and what was kept."""

    def __init__(self, sources: Sequence[Source], at_most_bytes: int):
        self.sources, self.at_most_bytes = sources, at_most_bytes
        self.seen_bytes = self.taken_bytes = 0
        total = sum(source.bytes for source in sources)
        if total * LARGEST_EXPANSION > at_most_bytes:  # sizes of files are not sizes of text: count
            total = sum(len(document.text.encode("utf-8")) for source in sources for document in source.documents())
        self.fraction = min(1.0, at_most_bytes / total) if total else 1.0

    def __iter__(self) -> Iterator[str]:
        """Whole documents where everything fits, else every so many-th block of them; the same ones each time."""
        self.seen_bytes = self.taken_bytes = 0
        for source in self.sources:
            for document in source.documents():
                for text in blocks(document.text) if self.fraction < 1 else [document.text]:
                    size = len(text.encode("utf-8"))
                    self.seen_bytes += size
                    wanted = self.seen_bytes * self.fraction
                    if self.taken_bytes + size <= min(wanted + size, self.at_most_bytes) and self.taken_bytes < wanted:
                        self.taken_bytes += size
                        yield text


def blocks(text: str) -> Iterator[str]:
    """Consecutive pieces, cut after a line end where there is one in the last quarter of a block."""
    start = 0
    while start < len(text):
        end = min(len(text), start + BLOCK_CHARACTERS)
        line_end = text.rfind("\n", end - BLOCK_CHARACTERS // 4, end)
        end = line_end + 1 if end < len(text) and line_end > start else end
        yield text[start:end]
        start = end
