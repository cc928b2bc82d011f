"""A data folder on disk -> its token streams, document boundaries, tokenizer and fingerprint."""

from collections.abc import Iterator
from functools import cached_property
from pathlib import Path
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from tohum.data_sampling.index import DTYPES, TOKENIZER_FOLDER, Index, Part, SourceEntry, read_index
from tohum.data_sampling.stream import TokenStream
from tohum.errors import DataError
from tohum.files import sha256_file
from tohum.tokenizing.tokenizer import Tokenizer

Side = Literal["train", "val"]
REMEDY = "prepare the data again with --force"


class DataFolder:
    """What `data prepare` made. Opening it reads the index and the sizes of files, not the tokens."""

    def __init__(self, path: Path, index: Index):
        self.path, self.index = path, index
        self._streams: dict[tuple[int, str], TokenStream] = {}

    @classmethod
    def open(cls, path: Path) -> "DataFolder":
        """Check format version, files, sizes and tokenizer. Raises DataError saying what is wrong with which."""
        index = read_index(Path(path))
        for source in index.sources:
            for part in (source.train, source.val):
                check_files(Path(path), part, np.dtype(DTYPES[index.dtype]).itemsize)
        for name, sha256 in index.tokenizer.files.items():
            file = Path(path) / TOKENIZER_FOLDER / name
            if not file.is_file():
                raise DataError(f"{file}: missing\n{REMEDY}")
            if sha256_file(file) != sha256:
                raise DataError(f"{file}: not the tokenizer that this data was prepared with\n"
                                f"put that one back, or {REMEDY}")
        return cls(Path(path), index)

    @property
    def fingerprint(self) -> str:
        """Changes with any token, boundary, share, split setting or with the tokenizer."""
        return self.index.fingerprint

    @property
    def sources(self) -> list[SourceEntry]:
        """Names, shares, and by split the tokens, documents and text bytes."""
        return self.index.sources

    @property
    def train_tokens(self) -> int:
        return sum(source.train.tokens for source in self.sources)

    @property
    def val_tokens(self) -> int:
        return sum(source.val.tokens for source in self.sources)

    @property
    def train_bytes(self) -> int:
        """Of the training text in UTF-8."""
        return sum(source.train.text_bytes for source in self.sources)

    @property
    def val_bytes(self) -> int:
        """Of the validation text in UTF-8."""
        return sum(source.val.text_bytes for source in self.sources)

    @cached_property
    def tokenizer(self) -> Tokenizer:
        """The copy in the folder. Raises DataError if it is another one than the index says."""
        tokenizer = Tokenizer.load(self.path / TOKENIZER_FOLDER)
        if tokenizer.sha256 != self.index.tokenizer.sha256:
            raise DataError(f"{self.path / TOKENIZER_FOLDER}: tokenizer {tokenizer.sha256[:12]}; the data was "
                            f"prepared with {self.index.tokenizer.sha256[:12]}\n{REMEDY}")
        return tokenizer

    def tokens(self, source: int, split: Side) -> TokenStream:
        """The ids of one source and split; len(), slices and gather()."""
        key = (source, split)
        if key not in self._streams:
            paths = [self.path / shard.file for shard in self.sources[source].part(split).shards]
            self._streams[key] = TokenStream.map(paths, DTYPES[self.index.dtype])
        return self._streams[key]

    def document_starts(self, source: int, split: Side) -> NDArray[np.int64]:
        """Place of the first token of every document, ascending, memory-mapped."""
        path = self.path / self.sources[source].part(split).boundaries
        if not path.stat().st_size:
            return np.empty(0, np.int64)
        return np.asarray(np.memmap(path, dtype="<i8", mode="r"))

    def texts(self, split: Side, *, at_most_tokens: int | None = None) -> Iterator[str]:
        """The documents of a split as text again, without special tokens; stops after some tokens if told."""
        specials = {self.tokenizer.bos_id, self.tokenizer.eos_id} - {None}
        left = at_most_tokens if at_most_tokens is not None else sum(s.part(split).tokens for s in self.sources)
        for source in range(len(self.sources)):
            tokens, starts = self.tokens(source, split), self.document_starts(source, split)
            for number, start in enumerate(map(int, starts)):
                if left <= 0:
                    return
                end = int(starts[number + 1]) if number + 1 < len(starts) else len(tokens)
                ids = tokens[start:min(end, start + left)].tolist()
                left -= len(ids)
                yield self.tokenizer.decode([token for token in ids if token not in specials])


def check_files(folder: Path, part: Part, token_bytes: int) -> None:
    """Every file of a part is there and as long as the index says. Raises DataError."""
    expected = {shard.file: shard.tokens * token_bytes for shard in part.shards}
    expected[part.boundaries] = 8 * part.documents
    for name, size in expected.items():
        path = folder / name
        if not path.is_file():
            raise DataError(f"{path}: missing, though {folder.name}/index.json lists it\n{REMEDY}")
        if path.stat().st_size != size:
            raise DataError(f"{path}: {path.stat().st_size:,} bytes; the index says {size:,}\n{REMEDY}")
