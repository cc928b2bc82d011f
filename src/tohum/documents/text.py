"""Plain text: bytes on disk (.gz, .zst) -> UTF-8 with Unix line ends -> documents per file, line or block."""

import codecs
import gzip
import io
import re
from collections.abc import Iterator
from pathlib import Path
from typing import BinaryIO

from tohum.documents.document import PIECE_CHARACTERS, Document, cut
from tohum.errors import DataError

READ_BYTES = 2**18
SEPARATOR = re.compile(r"^<\|endoftext\|>[ \t]*\n", re.MULTILINE)  # as in TinyStories
LAST_SEPARATOR = re.compile(r"^<\|endoftext\|>[ \t]*\Z", re.MULTILINE)
UTF16_MARKS = (codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE)


def open_binary(path: Path) -> BinaryIO:
    """The bytes of a file, decompressed by its suffix. Raises DataError if a library for .zst is missing."""
    if path.suffix == ".gz":
        return gzip.open(path, "rb")  # type: ignore[return-value]
    if path.suffix == ".zst":
        try:
            import zstandard
        except ImportError:
            raise DataError(f'{path}: .zst needs one more library: pip install "tohum[data]"') from None
        return zstandard.open(path, "rb")
    return open(path, "rb")


def blocks(path: Path) -> Iterator[bytes]:
    """The decompressed bytes in blocks. Raises DataError for a damaged archive."""
    try:
        with open_binary(path) as file:
            while block := file.read(READ_BYTES):
                yield block
    except (FileNotFoundError, IsADirectoryError, PermissionError):
        raise
    except Exception as error:
        if isinstance(error, DataError) or path.suffix not in (".gz", ".zst"):
            raise
        raise DataError(f"{path}: damaged archive: {error}\ncopy or download the file again") from error


def looks_binary(path: Path) -> bool:
    """A zero byte among the first ones: an image, an archive, a model; not UTF-8 text."""
    return b"\0" in next(blocks(path), b"")


def read_pieces(path: Path) -> Iterator[str]:
    """Decoded text in pieces of any length: UTF-8, byte-order mark dropped, "\\r\\n" and "\\r" -> "\\n".

    Raises DataError for bytes that are no UTF-8 text, naming line and offset.
    """
    decoder = io.IncrementalNewlineDecoder(codecs.getincrementaldecoder("utf-8-sig")(), translate=True)
    for block in blocks(path):
        try:
            if b"\0" in block:
                raise not_text(path)
            yield decoder.decode(block)
        except UnicodeDecodeError:
            raise not_text(path) from None
    try:
        yield decoder.decode(b"", final=True)
    except UnicodeDecodeError:
        raise not_text(path) from None


def not_text(path: Path) -> DataError:
    """Why this file could not be decoded, found by reading it line by line once more."""
    head = next(blocks(path), b"")
    if head.startswith(UTF16_MARKS):
        return DataError(f"{path}: UTF-16 text; expected UTF-8\n"
                         f"convert it: iconv -f utf-16 -t utf-8 {path.name} > utf8-{path.name}")
    offset = 0
    for block in blocks(path):
        if (zero := block.find(b"\0")) >= 0:
            return DataError(f"{path}: binary file (zero byte at offset {offset + zero:,}); "
                             "expected UTF-8 text\ngive text, JSONL, CSV, TSV or Parquet")
        offset += len(block)
    offset = 0
    with open_binary(path) as file:
        for number, line in enumerate(file, 1):
            try:
                line.decode("utf-8")
            except UnicodeDecodeError as error:
                return DataError(f"{path}:{number}: byte 0x{line[error.start]:02x} at offset "
                                 f"{offset + error.start:,} is not UTF-8\nif it is Latin-1 text, convert it: "
                                 f"iconv -f latin1 -t utf-8 {path.name} > utf8-{path.name}")
            offset += len(line)
    return DataError(f"{path}: ends in the middle of a UTF-8 character; expected UTF-8 text")


def read_lines(path: Path) -> Iterator[str]:
    """Lines with their line ends; the last one may have none."""
    unfinished: list[str] = []
    for piece in read_pieces(path):
        first, *rest = piece.split("\n")
        unfinished.append(first)
        if rest:
            yield "".join(unfinished) + "\n"
            yield from (line + "\n" for line in rest[:-1])
            unfinished = [rest[-1]]
    if last := "".join(unfinished):
        yield last


def raw_lines(path: Path) -> Iterator[bytes]:
    """The lines of `read_lines` without their ends and not decoded: for readers that check UTF-8 themselves."""
    unfinished: list[bytes] = []
    mark = codecs.BOM_UTF8
    for block in blocks(path):
        if b"\0" in block:
            raise not_text(path)
        first, *rest = block.removeprefix(mark).split(b"\n")
        mark = b""
        unfinished.append(first)
        if rest:
            for line in (b"".join(unfinished), *rest[:-1]):
                yield from (line,) if b"\r" not in line else line.removesuffix(b"\r").split(b"\r")
            unfinished = [rest[-1]]
    if last := b"".join(unfinished):
        yield from last.removesuffix(b"\r").split(b"\r")


def whole_file(path: Path, *, place: str, separators: bool) -> Iterator[Document]:
    """The file as one document, long ones in pieces; with `separators`, lines "<|endoftext|>" end one too."""
    buffer, line, inside = "", 1, False
    for piece in read_pieces(path):
        buffer += piece
        if separators and "<|endoftext|>" in buffer:
            *finished, buffer = SEPARATOR.split(buffer)
            for text in finished:
                if inside or text.strip():
                    yield Document(text.strip("\n"), f"{place}:{line}")
                inside, line = False, line + text.count("\n") + 1
        while len(buffer) > 2 * PIECE_CHARACTERS:
            head, buffer = cut(buffer, PIECE_CHARACTERS)
            yield Document(head, place, continues=True)
            inside, line = True, line + head.count("\n")
    if separators:
        buffer = LAST_SEPARATOR.sub("", buffer)
    if inside or buffer.strip():
        whole = line == 1 or inside
        yield Document(buffer if whole else buffer.strip("\n"), place if whole else f"{place}:{line}")


def line_documents(path: Path, *, place: str) -> Iterator[Document]:
    """Every line that is not blank, without its line end."""
    for number, line in enumerate(read_lines(path), 1):
        if line.strip():
            yield Document(line.rstrip("\n"), f"{place}:{number}")


def block_documents(path: Path, *, place: str) -> Iterator[Document]:
    """Every run of lines between blank lines (a verse, a paragraph, an entry)."""
    block: list[str] = []
    started = 1
    for number, line in enumerate(read_lines(path), 1):
        if line.strip():
            if not block:
                started = number
            block.append(line)
        elif block:
            yield Document("".join(block).rstrip("\n"), f"{place}:{started}")
            block = []
    if block:
        yield Document("".join(block).rstrip("\n"), f"{place}:{started}")
