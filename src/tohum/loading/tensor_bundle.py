"""TensorFlow's checkpoints (TensorBundle), read without TensorFlow: name.index and name.data-… -> tensors by name.

    .index    a sorted table of LevelDB's format: name -> where the tensor lies, what its type and shape are
    .data     the numbers, little-endian

    table     blocks … , index block (last key of a block -> its place), footer of 48 bytes with the index's place
    block     entries (bytes shared with the key before, own bytes, length of the value, …), then restart points

(github.com/google/leveldb, doc/table_format.md; tensorflow/core/protobuf/tensor_bundle.proto.) Files come from
strangers: every length is held against the file before anything is made of it. Checksums of blocks are verified;
those of the numbers are not, for in Python that would take minutes.
"""

import struct
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from functools import cached_property
from math import prod
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from tohum.errors import CheckpointError
from tohum.loading.names import Shape

MAGIC = struct.pack("<Q", 0xDB4775248B80FB57)
FOOTER_BYTES, TRAILER_BYTES, MAX_INDEX_BYTES = 48, 5, 64_000_000
DTYPES = {1: np.dtype("<f4"), 2: np.dtype("<f8"), 3: np.dtype("<i4"), 9: np.dtype("<i8"), 19: np.dtype("<f2")}
Fail = Callable[[str], CheckpointError]
POLYNOMIAL = 0x82F63B78  # of CRC-32C, reversed


@dataclass(frozen=True, kw_only=True)
class Entry:
    """Where a tensor lies."""

    dtype: np.dtype
    shape: Shape
    shard: int
    offset: int
    size: int  # bytes


class TensorBundle:
    """The tensors of a checkpoint, by the path without .index."""

    def __init__(self, prefix: Path):
        self.prefix, self.path = prefix, prefix.with_name(f"{prefix.name}.index")
        self.where = str(self.path)
        self.shards, self.entries = 1, {}
        for key, value in self.rows():
            fields = Fields(value, self.fail)
            if key:
                self.entries[key.decode("utf-8", errors="replace")] = self.entry(key, fields)
            else:
                self.shards = fields.number(1, 1)
        self.check()

    def fail(self, what: str) -> CheckpointError:
        """The line for a file that is not what it says."""
        return CheckpointError(f"{self.path}: not a whole TensorFlow checkpoint: {what}")

    @cached_property
    def shapes(self) -> Mapping[str, Shape]:
        """Shape of every tensor."""
        return {name: entry.shape for name, entry in self.entries.items()}

    def tensor(self, name: str) -> Tensor:
        """The numbers, a copy; half precision stays so."""
        entry = self.entries[name]
        data = np.memmap(self.data_path(entry.shard), dtype=np.uint8, mode="r")
        raw = np.array(data[entry.offset : entry.offset + entry.size])
        return torch.from_numpy(raw.view(entry.dtype).reshape(entry.shape))

    def data_path(self, shard: int) -> Path:
        """The file that holds a shard's numbers."""
        return self.prefix.with_name(f"{self.prefix.name}.data-{shard:05d}-of-{self.shards:05d}")

    def check(self) -> None:
        """Every tensor lies inside its file. Raises CheckpointError."""
        sizes: dict[int, int] = {}
        for name, entry in self.entries.items():
            path = self.data_path(entry.shard)
            if entry.shard not in sizes:
                if entry.shard >= self.shards or not path.is_file():
                    raise CheckpointError(f"{path}: no such file; it holds the numbers of {name}")
                sizes[entry.shard] = path.stat().st_size
            if entry.offset + entry.size > sizes[entry.shard] or prod(entry.shape) * entry.dtype.itemsize != entry.size:
                raise CheckpointError(f"{path}: {name} {list(entry.shape)} does not lie inside its "
                                      f"{sizes[entry.shard]:,} bytes; the file is cut off or damaged")

    def entry(self, key: bytes, fields: "Fields") -> Entry:
        """One BundleEntryProto."""
        kind = fields.number(1, 0)
        if kind not in DTYPES or fields.all(7):
            raise self.fail(f"{key[:60]!r} has type {kind} or is stored in slices, which is not read")
        shapes = [Fields(shape, self.fail) for shape in fields.all(2)]
        dims = [Fields(dim, self.fail).number(1, 0) for shape in shapes for dim in shape.all(2)]
        return Entry(dtype=DTYPES[kind], shape=tuple(dims), shard=fields.number(3, 0), offset=fields.number(4, 0),
                     size=fields.number(5, 0))

    def rows(self) -> Iterator[tuple[bytes, bytes]]:
        """All keys and values of the table."""
        if self.path.stat().st_size > MAX_INDEX_BYTES:
            raise self.fail(f"{self.path.stat().st_size:,} bytes, too many for an index")
        data = self.path.read_bytes()
        if len(data) < FOOTER_BYTES or data[-8:] != MAGIC:
            raise self.fail("it does not end as one")
        at = len(data) - FOOTER_BYTES
        _, at = varint(data, at, self.fail)  # of the block of meta data, which is empty
        _, at = varint(data, at, self.fail)
        place = self.place(data, at)
        for _, value in self.block(data, *place):
            yield from self.block(data, *self.place(value, 0))

    def place(self, data: bytes, at: int) -> tuple[int, int]:
        """Offset and size of a block."""
        offset, at = varint(data, at, self.fail)
        return offset, varint(data, at, self.fail)[0]

    def block(self, data: bytes, offset: int, size: int) -> Iterator[tuple[bytes, bytes]]:
        """Keys and values of one block, its checksum verified first."""
        end = offset + size
        if end + TRAILER_BYTES > len(data) or size < 4:
            raise self.fail(f"a block of {size:,} bytes at byte {offset:,}, beyond the end")
        if data[end]:
            raise self.fail("its blocks are compressed, which is not read")
        if masked_crc(data[offset : end + 1]) != struct.unpack_from("<I", data, end + 1)[0]:
            raise self.fail(f"the checksum of the block at byte {offset:,} differs")
        restarts = struct.unpack_from("<I", data, end - 4)[0]
        stop, at, key = end - 4 - 4 * restarts, offset, b""
        if stop < offset:
            raise self.fail("a block with more restart points than bytes")
        while at < stop:
            shared, at = varint(data, at, self.fail)
            own, at = varint(data, at, self.fail)
            length, at = varint(data, at, self.fail)
            if shared > len(key) or at + own + length > stop:
                raise self.fail(f"an entry that ends beyond its block, at byte {at:,}")
            key = key[:shared] + data[at : at + own]
            yield key, data[at + own : at + own + length]
            at += own + length


class Fields:
    """The fields of one protocol-buffer message, by number."""

    def __init__(self, data: bytes, fail: Fail):
        self.found: dict[int, list[Any]] = {}
        at = 0
        while at < len(data):
            tag, at = varint(data, at, fail)
            kind, size = tag & 7, {1: 8, 5: 4}.get(tag & 7, 0)
            if kind == 0:
                value, at = varint(data, at, fail)
            else:
                if kind == 2:
                    size, at = varint(data, at, fail)
                if kind not in (1, 2, 5) or at + size > len(data):
                    raise fail("a damaged description of a tensor")
                value, at = data[at : at + size], at + size
            self.found.setdefault(tag >> 3, []).append(value)
        self.fail = fail

    def number(self, field: int, default: int) -> int:
        """The last value of a number."""
        value = self.found.get(field, [default])[-1]
        if not isinstance(value, int):
            raise self.fail("a damaged description of a tensor")
        return value

    def all(self, field: int) -> list[bytes]:
        """All values of a message."""
        values = self.found.get(field, [])
        if not all(isinstance(value, bytes) for value in values):
            raise self.fail("a damaged description of a tensor")
        return values


def varint(data: bytes, at: int, fail: Fail) -> tuple[int, int]:
    """A number of seven bits per byte, and where it ends."""
    value = 0
    for shift in range(0, 64, 7):
        if at >= len(data):
            break
        byte = data[at]
        value, at = value | (byte & 127) << shift, at + 1
        if byte < 128:
            return value, at
    raise fail("a number that does not end")


def crc_table() -> list[int]:
    """CRC-32C of every byte."""
    table = []
    for byte in range(256):
        for _ in range(8):
            byte = byte >> 1 ^ (POLYNOMIAL if byte & 1 else 0)
        table.append(byte)
    return table


CRC = crc_table()


def masked_crc(data: bytes) -> int:
    """CRC-32C as LevelDB stores it: rotated and shifted, so that a checksum of checksums stays one."""
    crc = 0xFFFFFFFF
    for byte in data:
        crc = CRC[(crc ^ byte) & 255] ^ crc >> 8
    crc ^= 0xFFFFFFFF
    return ((crc >> 15 | crc << 17) + 0xA282EAD8) & 0xFFFFFFFF
