"""What a user names (paths, "-", "python-docs", "python-source") -> named sources of documents."""

import difflib
import os
import shutil
import sys
import tempfile
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Literal, get_args

from tohum.documents.document import Document, Source
from tohum.documents.python_library import PythonDocs, PythonSource
from tohum.documents.records import record_documents
from tohum.documents.text import block_documents, line_documents, looks_binary, read_lines, whole_file
from tohum.errors import ConfigError, DataError
from tohum.files import sha256_file, sha256_json

Split = Literal["auto", "file", "line", "blank", "record"]
EMBEDDED = {"python-docs": PythonDocs, "python-source": PythonSource}
RECORD_SUFFIXES = {".jsonl": "jsonl", ".ndjson": "jsonl", ".json": "json", ".csv": "csv", ".tsv": "tsv",
                   ".parquet": "parquet"}
TEXT_PER_BYTE = {".gz": 3, ".zst": 3, ".parquet": 2}  # about, for progress


def open_sources(specs: Sequence[str], *, split: Split = "auto", text_key: str = "text") -> list[Source]:
    """Check that every specification can be read and give each source a name of its own.

    split: how plain text is cut into documents: "file" (one each), "line", "blank" (blocks between blank
    lines); "auto" is "file", where lines "<|endoftext|>" separate documents too. Records (JSONL, JSON, CSV,
    TSV, Parquet) are always one document each; "record" says so and refuses plain text.
    Raises DataError, ConfigError.
    """
    if not specs:
        raise ConfigError("no source given; name files, folders, '-' for stdin, python-docs or python-source")
    if split not in get_args(Split):
        raise ConfigError(f"split '{split}' is unknown; choose one of {', '.join(get_args(Split))}")
    if twice := sorted({spec for spec in specs if list(specs).count(spec) > 1}):
        raise ConfigError(f"source '{twice[0]}' is given twice; name it once (--weights changes its share)")
    names = unique_names(specs)
    return [open_source(spec, name, split, text_key) for spec, name in zip(specs, names, strict=True)]


def unique_names(specs: Sequence[str]) -> list[str]:
    """Short names: "books/a.txt" -> "a"; where two would be equal, both keep more of their path."""
    whole = [{"-": "stdin"}.get(spec, spec) for spec in specs]
    parts = [list(stem(name).parts) if name not in (*EMBEDDED, "stdin") else [name] for name in whole]
    names = [name_parts[-1] if name_parts else "." for name_parts in parts]
    for name in {name for name in names if names.count(name) > 1}:
        same = [index for index, other in enumerate(names) if other == name]
        for index in same:
            names[index] = "/".join(parts[index][-2:])
        if len({names[index] for index in same}) < len(same):
            for index in same:
                names[index] = whole[index]
    return names


def stem(name: str) -> Path:
    """The path without the suffixes that name format and compression."""
    path = Path(name).absolute() if Path(name).name in ("", "..") else Path(name)
    if path.is_dir():
        return path
    return path.with_name(path.name.removesuffix(path.suffix).removesuffix(".jsonl")) if path.suffix else path


def open_source(spec: str, name: str, split: Split, text_key: str) -> Source:
    """One specification -> its source."""
    if spec in EMBEDDED:
        return EMBEDDED[spec]()
    if spec == "-":
        return Stdin(name, split, text_key)
    path = Path(spec)
    if not path.exists():
        near = difflib.get_close_matches(spec, EMBEDDED, n=1)
        hint = f"; did you mean '{near[0]}'?" if near else ""
        raise DataError(f"{spec}: no such file or folder{hint}")
    if path.is_dir():
        return Folder(path, name, split, text_key)
    return Files([path], name, split, text_key)


class Files:
    """Given files, one after the other."""

    def __init__(self, paths: Sequence[Path], name: str, split: Split, text_key: str,
                 root: Path | None = None):
        self.name = name
        self.skipped: list[Path] = []
        self._paths, self._split, self._text_key, self._root = list(paths), split, text_key, root
        for path in self._paths:
            check_format(path, split)

    @property
    def bytes(self) -> int:
        return sum(path.stat().st_size * TEXT_PER_BYTE.get(path.suffix.lower(), 1) for path in self._paths)

    def documents(self) -> Iterator[Document]:
        """File by file; raises DataError if there is no text at all."""
        found = False
        for path in self._paths:
            place = str(path.relative_to(self._root)) if self._root else str(path)
            for document in read_file(path, self._split, self._text_key, place):
                found = True
                yield document
        if not found:
            raise DataError(f"{self._root or self._paths[0]}: no text in it")

    def sha256(self) -> str:
        """Of the file; of a folder, the digest over all relative names and digests."""
        if self._root is None and len(self._paths) == 1:
            return sha256_file(self._paths[0])
        return sha256_json([[str(path.relative_to(self._root or path.parent)), sha256_file(path)]
                            for path in self._paths])


class Folder(Files):
    """All text below a folder, sorted by path; hidden, empty and binary files are passed over."""

    def __init__(self, root: Path, name: str, split: Split, text_key: str):
        paths, skipped = text_files(root)
        if not paths:
            seen = f"{len(skipped)} files, none of them text" if skipped else "no files"
            raise DataError(f"{root}: {seen}; expected text, JSONL, CSV, TSV or Parquet below this folder")
        super().__init__(paths, name, split, text_key, root)
        self.skipped = skipped


class Stdin(Files):
    """Standard input, kept in a temporary file to be read twice; JSONL if its first line is an object."""

    def __init__(self, name: str, split: Split, text_key: str):
        self._folder = tempfile.TemporaryDirectory(prefix="tohum-stdin-")
        path = Path(self._folder.name, "stdin.txt")
        with open(path, "wb") as file:
            shutil.copyfileobj(sys.stdin.buffer, file)
        if path.stat().st_size == 0:
            raise DataError("stdin: empty; pipe some text into it, as in: cat book.txt | tohum … -")
        if not looks_binary(path) and next(read_lines(path), "").lstrip().startswith("{"):
            path = path.rename(path.with_suffix(".jsonl"))
        super().__init__([path], name, split, text_key)

    def documents(self) -> Iterator[Document]:
        """The documents; places and errors name "stdin", not the temporary file."""
        hidden = str(self._paths[0])
        try:
            for document in super().documents():
                yield Document(document.text, document.place.replace(hidden, "stdin"), document.continues)
        except DataError as error:
            raise DataError(str(error).replace(hidden, "stdin")) from None


def text_files(root: Path) -> tuple[list[Path], list[Path]]:
    """(readable files sorted by path, files that are empty or binary)."""
    found: list[Path] = []
    skipped: list[Path] = []
    for folder, folders, names in os.walk(root):
        folders[:] = sorted(name for name in folders if not name.startswith("."))
        for path in (Path(folder, name) for name in sorted(names) if not name.startswith(".")):
            if not path.is_file():
                continue
            usable = path.stat().st_size > 0 and (format_of(path) == "parquet" or not looks_binary(path))
            (found if usable else skipped).append(path)
    return sorted(found), sorted(skipped)


def format_of(path: Path) -> str:
    """"jsonl", "json", "csv", "tsv", "parquet" or "text", by the suffix below .gz and .zst."""
    inner = path.with_suffix("") if path.suffix in (".gz", ".zst") else path
    return RECORD_SUFFIXES.get(inner.suffix.lower(), "text")


def check_format(path: Path, split: Split) -> None:
    """What can be said before reading. Raises DataError, ConfigError."""
    if path.stat().st_size == 0:
        raise DataError(f"{path}: empty file; expected text")
    if split == "record" and format_of(path) == "text":
        raise ConfigError(f"{path}: plain text has no records; with --split record give JSONL, CSV, TSV or "
                          "Parquet, or choose --split file, line or blank")


def read_file(path: Path, split: Split, text_key: str, place: str) -> Iterator[Document]:
    """The documents of one file."""
    kind = format_of(path)
    if kind != "text":
        return record_documents(path, kind, text_key, place=place)
    if split == "line":
        return line_documents(path, place=place)
    if split == "blank":
        return block_documents(path, place=place)
    return whole_file(path, place=place, separators=split == "auto")
