"""What every reader yields: one text and the place that it came from."""

from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple, Protocol

PIECE_CHARACTERS = 2**20  # a longer file comes in pieces, so that memory does not grow with it


class Document(NamedTuple):
    """One text; `place` is "file.txt", or "file.jsonl:3" where a file holds many.

    With `continues` the text is only a piece of a long document, and the next Document goes on with it.
    """

    text: str
    place: str
    continues: bool = False


class Source(Protocol):
    """A named stream of documents that can be read again and again, in the same order."""

    skipped: list[Path]  # files of a folder that are not text

    @property
    def name(self) -> str:
        """Short and unique among the sources opened together."""
        ...

    @property
    def bytes(self) -> int:
        """About how much text, for progress."""
        ...

    def documents(self) -> Iterator[Document]:
        """Streamed in constant memory. Raises DataError with file and line."""
        ...

    def sha256(self) -> str:
        """Hex digest of the raw content: changes when any byte or file name does."""
        ...


def cut(text: str, at_most: int) -> tuple[str, str]:
    """Split a long text near `at_most` characters where no tokenizer's word is torn.

    After a single line end between two non-blank characters, else before a single space, else anywhere.
    The last tenth is searched; there every published split pattern (GPT-2, Qwen, Llama 3) has a boundary.
    """
    lowest = at_most - at_most // 10
    for mark, offset in (("\n", 1), (" ", 0)):
        at = text.rfind(mark, lowest, at_most)
        while at > 0:
            if not text[at - 1].isspace() and not text[at + 1:at + 2].isspace():
                return text[:at + offset], text[at + offset:]
            at = text.rfind(mark, lowest, at)
    return text[:at_most], text[at_most:]
