"""`index.json` of a data folder <-> typed records, and the fingerprint over all that decides the data."""

import json
from pathlib import Path
from typing import Any

from pydantic import BaseModel, ConfigDict, ValidationError

from tohum.errors import DataError
from tohum.files import sha256_json

FORMAT = "tohum-data"
FORMAT_VERSION = 1
INDEX_NAME = "index.json"
TOKENIZER_FOLDER = "tokenizer"
UINT32_FROM = 65_536  # vocabulary size from which ids take four bytes
DTYPES = {"uint16": "<u2", "uint32": "<u4"}


class Record(BaseModel):
    """Part of the index; written and read by us, so unknown keys are damage."""

    model_config = ConfigDict(frozen=True, extra="forbid")


class Shard(Record):
    """One file of token ids."""

    file: str
    tokens: int
    sha256: str


class Part(Record):
    """The training or the validation side of a source."""

    tokens: int
    documents: int
    text_bytes: int  # of the text in UTF-8
    shards: list[Shard]
    boundaries: str  # file of int64: the place of each document's first token in this part
    boundaries_sha256: str


class SourceEntry(Record):
    """One source as it was prepared."""

    name: str
    sha256: str
    share: int  # samples out of every `period`
    documents: int
    copies_left_out: int
    split_by: str  # "documents" or "characters"
    train: Part
    val: Part

    def part(self, split: str) -> Part:
        """"train" or "val"."""
        return {"train": self.train, "val": self.val}[split]


class TokenizerEntry(Record):
    """The tokenizer whose ids these are; a copy lies in the folder `tokenizer/`."""

    kind: str
    vocab_size: int
    sha256: str
    files: dict[str, str]  # file name -> SHA-256


class Index(Record):
    """All of `index.json`."""

    format: str = FORMAT
    format_version: int = FORMAT_VERSION
    fingerprint: str
    dtype: str
    period: int
    tokenizer: TokenizerEntry
    settings: dict[str, Any]
    sources: list[SourceEntry]

    def computed_fingerprint(self) -> str:
        """Digest over shards, boundaries, tokenizer, shares, split settings and format version."""
        parts = [[[shard.sha256 for shard in part.shards], part.boundaries_sha256]
                 for source in self.sources for part in (source.train, source.val)]
        return sha256_json({"version": self.format_version, "dtype": self.dtype, "parts": parts,
                            "tokenizer": self.tokenizer.sha256, "shares": [s.share for s in self.sources],
                            "split": [self.settings["split"], self.settings["val_fraction"]]})


def read_index(folder: Path) -> Index:
    """Parse and check the index of a data folder. Raises DataError for anything that is not one."""
    path = folder / INDEX_NAME
    remedy = "make it with: tohum data prepare SOURCES… --tokenizer T --out DIR"
    if not folder.exists():
        raise DataError(f"{folder}: no such data folder\n{remedy}")
    if not path.is_file():
        raise DataError(f"{folder}: not a data folder (no {INDEX_NAME} in it)\n{remedy}")
    try:
        value = json.loads(path.read_bytes())
    except ValueError as error:
        raise DataError(f"{path}: damaged: {error}\nprepare the data again with --force") from None
    if not isinstance(value, dict) or value.get("format") != FORMAT:
        raise DataError(f"{path}: not the index of a data folder\n{remedy}")
    if value.get("format_version") != FORMAT_VERSION:
        raise DataError(f"{path}: format version {value.get('format_version')}; this tohum reads version "
                        f"{FORMAT_VERSION}\nprepare the data again, or use the tohum that made it")
    claimed = value.pop("index_sha256", None)
    if claimed != sha256_json(value):
        raise DataError(f"{path}: damaged: its content does not match its own hash\n"
                        "prepare the data again with --force")
    try:
        return Index.model_validate(value)
    except ValidationError as error:
        first = error.errors()[0]
        raise DataError(f"{path}: damaged: {'.'.join(map(str, first['loc']))}: {first['msg']}\n"
                        "prepare the data again with --force") from None


def index_json(index: Index) -> dict[str, Any]:
    """What is written: the index with a hash over itself."""
    value = index.model_dump(mode="json")
    return value | {"index_sha256": sha256_json(value)}
