"""Token ids of one source and split -> shard files and document boundaries, hashed while they are written."""

import hashlib
from collections.abc import Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from pathlib import Path
from typing import BinaryIO

import numpy as np
from numpy.typing import NDArray

from tohum.data_sampling.index import Part, Shard

PART_BYTES = 2**20  # written and hashed at once: documents are small, and there are many


class HashedFile:
    """A file that knows the SHA-256 of what went into it. A thread hashes a part while the next one is made."""

    def __init__(self, path: Path):
        self.name = path.name
        self._file: BinaryIO = open(path, "wb", buffering=0)  # noqa: SIM115 (closed by close)
        self._digest = hashlib.sha256()
        self._thread, self._hashing = ThreadPoolExecutor(1), Future[None]()
        self._hashing.set_result(None)
        self._waiting: list[bytes | memoryview] = []
        self._bytes = 0

    def write(self, data: bytes | memoryview) -> None:
        """`data` must stay as it is."""
        self._waiting.append(data)
        self._bytes += len(data)
        if self._bytes >= PART_BYTES:
            self._write_part()

    def _write_part(self) -> None:
        part = b"".join(self._waiting)
        self._waiting, self._bytes = [], 0
        self._hashing.result()
        self._hashing = self._thread.submit(self._digest.update, part)
        rest = memoryview(part)
        while rest:
            rest = rest[self._file.write(rest):]

    def close(self) -> str:
        """Hex digest of the whole file."""
        self._write_part()
        self._hashing.result()
        self._thread.shutdown()
        self._file.close()
        return self._digest.hexdigest()


class PartWriter:
    """Grows one side of one source; the shards of all parts share one numbering."""

    def __init__(self, folder: Path, boundaries: str, *, dtype: str, shard_tokens: int,
                 numbers: Iterator[int]):
        self._folder, self._dtype, self._shard_tokens, self._numbers = folder, dtype, shard_tokens, numbers
        self._boundaries = HashedFile(folder / boundaries)
        self._shard: HashedFile | None = None
        self._in_shard = 0
        self._shards: list[Shard] = []
        self.tokens = self.documents = self.text_bytes = 0

    def begin(self, starts: NDArray[np.int64], text_bytes: int) -> None:
        """Documents begin so many tokens from here, with so much text in all."""
        self._boundaries.write((self.tokens + starts).astype("<i8").tobytes())
        self.documents += len(starts)
        self.text_bytes += text_bytes

    def append(self, ids: NDArray[np.integer]) -> None:
        """Tokens of the documents that have begun."""
        self.tokens += len(ids)
        while len(ids):
            if self._shard is None:
                self._shard = HashedFile(self._folder / f"shard_{next(self._numbers):05d}.bin")
            room = self._shard_tokens - self._in_shard
            self._shard.write(np.ascontiguousarray(ids[:room], self._dtype).view(np.uint8).data)
            self._in_shard += min(room, len(ids))
            ids = ids[room:]
            if self._in_shard == self._shard_tokens:
                self._finish_shard()

    def _finish_shard(self) -> None:
        if self._shard is not None:
            sha256 = self._shard.close()
            self._shards.append(Shard(file=self._shard.name, tokens=self._in_shard, sha256=sha256))
        self._shard, self._in_shard = None, 0

    def close(self) -> Part:
        """Finish all files."""
        self._finish_shard()
        return Part(tokens=self.tokens, documents=self.documents, text_bytes=self.text_bytes,
                    shards=self._shards, boundaries=self._boundaries.name,
                    boundaries_sha256=self._boundaries.close())
