"""Documents + tokenizer -> a data folder: shards, document boundaries, index.json and the tokenizer itself."""

import itertools
import time
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import Future
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from threading import Thread
from typing import Any, Generic, TypeVar, get_args

import numpy as np

from tohum.data_sampling.config import PrepareConfig
from tohum.data_sampling.encoder import Encoder, utf8_length
from tohum.data_sampling.index import (
    DTYPES,
    FORMAT_VERSION,
    INDEX_NAME,
    TOKENIZER_FOLDER,
    UINT32_FROM,
    Index,
    SourceEntry,
    TokenizerEntry,
    index_json,
)
from tohum.data_sampling.mixture import integer_shares
from tohum.data_sampling.reuse import may_write, reusable
from tohum.data_sampling.shards import DataFolder
from tohum.data_sampling.split import Piece, Scan, Side, Splitter, scan_if_small, watched
from tohum.data_sampling.spool import Spool
from tohum.data_sampling.writer import PartWriter
from tohum.documents.document import Source
from tohum.documents.source import open_sources
from tohum.errors import ConfigError, DataError
from tohum.files import refuse_existing, sha256_file, write_directory, write_json
from tohum.tokenizing.fast import Ragged
from tohum.tokenizing.tokenizer import Tokenizer

T = TypeVar("T")
Progress = Callable[[str, int, int], None]  # phase, done, total; in bytes or characters


def prepare(specs: Sequence[str], tokenizer: Tokenizer, out: Path, settings: PrepareConfig, *,
            progress: Progress = lambda phase, done, total: None) -> dict[str, Any]:
    """Write `out`, or find it made already from the same input, tokenizer and settings.

    Returns the object of `data prepare --json`. Raises DataError for input that cannot be read or is too small,
    ConfigError for settings that do not fit it or for an `out` that holds something else.
    """
    started = time.perf_counter()
    sources = open_sources(specs, split=settings.split, text_key=settings.text_key)
    check_weights(settings, [source.name for source in sources])
    size = sum(source.bytes for source in sources)  # sources made of code are made here, once
    hashes = Background(lambda: {source.name: sha256_of(source) for source in sources})

    def wanted() -> dict[str, Any]:
        return {"sources": hashes.result(), "tokenizer": tokenizer.sha256, "format_version": FORMAT_VERSION,
                **settings.model_dump(mode="json", exclude={"force"})}

    if (out / INDEX_NAME).is_file() and (reused := reusable(out, wanted(), settings.force)):
        return describe(reused, sources, started) | {"reused": True}
    may_write(out, settings.force)
    work = Work(sources=sources, bytes=size, tokenizer=tokenizer, settings=settings, wanted=wanted, progress=progress)

    def fill(draft: Path) -> None:
        write_json(draft / INDEX_NAME, index_json(write_parts(draft, work)))
        refuse_existing(out, force=True)  # only now, when the new one is complete

    write_directory(out, fill)
    return describe(DataFolder.open(out), sources, started) | {"reused": False}


@dataclass(frozen=True, kw_only=True)
class Work:
    """What one preparation works on."""

    sources: Sequence[Source]
    bytes: int
    tokenizer: Tokenizer
    settings: PrepareConfig
    wanted: Callable[[], dict[str, Any]]  # the key under which the result is reused; waits for the sources' hashes
    progress: Progress


def sha256_of(source: Source) -> str:
    """Raises DataError for a source that is gone since it was opened."""
    try:
        return source.sha256()
    except OSError as error:
        where, what = error.filename or source.name, error.strerror or error
        raise DataError(f"{where}: {what}; it was there a moment ago") from None


def check_weights(settings: PrepareConfig, names: list[str]) -> None:
    """--weights names every source, and nothing else. Raises ConfigError."""
    if settings.weights is None or set(settings.weights) == set(names):
        return
    unknown, lacking = sorted(set(settings.weights) - set(names)), sorted(set(names) - set(settings.weights))
    what = f"unknown source '{unknown[0]}'" if unknown else f"no weight for source '{lacking[0]}'"
    raise ConfigError(f"weights: {what}; the sources are {', '.join(names)}\n"
                      f"write it like {','.join(f'{name}=1' for name in names[:3])}")


def write_parts(draft: Path, work: Work) -> Index:
    """Encode every source and write its two sides.

    A large source is encoded while it is read for the first and only time; its ids wait in a spool until all sources
    are known, and with them the split. A small one is cut somewhere inside, so it is read first and encoded then.
    """
    dtype = "uint32" if work.tokenizer.vocab_size >= UINT32_FROM else "uint16"
    encoder, encoding = Encoder(work.tokenizer, work.bytes), Counter("encoding", work.bytes, work.progress)
    dealing = Counter("sharing out", work.bytes, work.progress)
    scans: list[Scan] = []
    spools: list[Spool | None] = []
    for number, source in enumerate(work.sources):
        found = scan_if_small(source.documents(), Counter("reading", source.bytes, work.progress).add)
        spools.append(None if found else Spool(draft, f"waiting_{number:05d}", DTYPES[dtype]))
        scans.append(found or Scan())
        if spool := spools[-1]:
            with spool.filling():
                for batch, ids in encoder.encoded(watched(source.documents(), scans[-1]), encoding.add):
                    spool.add(batch, ids)
    splitter, numbers, entries = Splitter(scans, work.settings.val_fraction), itertools.count(), []
    for number, (source, spool) in enumerate(zip(work.sources, spools, strict=True)):
        parts = {side: PartWriter(draft, f"documents_{number:05d}_{side}.bin", dtype=DTYPES[dtype],
                                  shard_tokens=work.settings.shard_tokens, numbers=numbers)
                 for side in get_args(Side)}
        if spool:
            spool.deal(partial(splitter.sides, number), parts, dealing.add)
        else:
            write_pieces(encoder.encoded(splitter.pieces(number, source.documents()), encoding.add), parts)
        entries.append(SourceEntry(
            name=source.name, sha256=work.wanted()["sources"][source.name], share=1,
            documents=scans[number].documents, copies_left_out=splitter.dropped[number],
            split_by="characters" if splitter.by_characters(number) else "documents",
            train=parts["train"].close(), val=parts["val"].close()))
        check_size(source.name, entries[-1], work.settings)
    return make_index(draft, entries, dtype, work)


def write_pieces(encoded: Iterator[tuple[list[Piece], Ragged]], parts: dict[Side, PartWriter]) -> None:
    """Append each piece to its side."""
    for batch, found in encoded:
        for piece, ids in zip(batch, np.split(found.ids, np.cumsum(found.lengths)[:-1]), strict=True):
            assert piece.side is not None
            part = parts[piece.side]
            if piece.starts or not part.documents:  # the text after the cut opens its side, though not its document
                part.begin(np.zeros(1, np.int64), 0)
            part.text_bytes += utf8_length(piece.text)
            part.append(ids)


def check_size(name: str, entry: SourceEntry, settings: PrepareConfig) -> None:
    """Both sides hold something to predict. Raises DataError."""
    if entry.train.tokens < 2:
        raise DataError(f"source '{name}': {entry.train.tokens} training tokens; at least 2 are needed\n"
                        "add text, or lower --val-fraction")
    lacking = settings.val_fraction > 0 and entry.split_by == "characters" and entry.val.tokens < 2
    if lacking:
        raise DataError(f"source '{name}': {entry.val.tokens} validation tokens of "
                        f"{entry.train.text_bytes + entry.val.text_bytes} bytes; at least 2 are needed\n"
                        "add text, raise --val-fraction, or give --val-fraction 0 to train without validation")


def make_index(draft: Path, entries: list[SourceEntry], dtype: str, work: Work) -> Index:
    """Store the tokenizer, settle the shares, take the fingerprint."""
    work.tokenizer.save(draft / TOKENIZER_FOLDER)
    files = {path.name: sha256_file(path) for path in sorted((draft / TOKENIZER_FOLDER).iterdir())}
    weights = work.settings.weights or {entry.name: entry.train.tokens for entry in entries}
    shares = integer_shares([weights[entry.name] ** work.settings.alpha for entry in entries])
    entries = [entry.model_copy(update={"share": share}) for entry, share in zip(entries, shares, strict=True)]
    index = Index(fingerprint="", dtype=dtype, period=sum(shares), sources=entries, settings=work.wanted(),
                  tokenizer=TokenizerEntry(kind=work.tokenizer.kind, vocab_size=work.tokenizer.vocab_size,
                                           sha256=work.tokenizer.sha256, files=files))
    return index.model_copy(update={"fingerprint": index.computed_fingerprint()})


def describe(data: DataFolder, sources: Sequence[Source], started: float) -> dict[str, Any]:
    """The result as plain values."""
    tokens, text_bytes = data.train_tokens + data.val_tokens, data.train_bytes + data.val_bytes
    return {
        "documents": sum(entry.documents for entry in data.sources),
        "train_tokens": data.train_tokens, "val_tokens": data.val_tokens,
        "train_bytes": data.train_bytes, "val_bytes": data.val_bytes,
        "bytes_per_token": round(text_bytes / tokens, 4),
        "fingerprint": data.fingerprint,
        "sources": [{"name": entry.name, "sha256": entry.sha256, "share": entry.share / data.index.period,
                     "documents": entry.documents, "copies_left_out": entry.copies_left_out,
                     "split_by": entry.split_by, "train_tokens": entry.train.tokens,
                     "val_tokens": entry.val.tokens, "train_bytes": entry.train.text_bytes,
                     "val_bytes": entry.val.text_bytes, "skipped": [str(path) for path in source.skipped]}
                    for entry, source in zip(data.sources, sources, strict=True)],
        "out": str(data.path), "seconds": round(time.perf_counter() - started, 3),
    }


class Background(Generic[T]):
    """A call that runs while others do; it does not keep the program from ending."""

    def __init__(self, call: Callable[[], T]):
        self._done: Future[T] = Future()
        self._call = call
        Thread(target=self._run, daemon=True).start()

    def _run(self) -> None:
        try:
            self._done.set_result(self._call())
        except BaseException as error:
            self._done.set_exception(error)

    def result(self) -> T:
        """What it gave, or the exception that it raised."""
        return self._done.result()


class Counter:
    """Adds up what is done and passes it on."""

    def __init__(self, phase: str, total: int, progress: Progress):
        self._phase, self._total, self._progress, self._done = phase, total, progress, 0

    def add(self, amount: int) -> None:
        """`amount` more is done."""
        self._done += amount
        self._progress(self._phase, self._done, max(self._total, self._done))
