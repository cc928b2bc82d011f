"""GGUF, the container of llama.cpp: a file -> its values and where its tensors lie. Nothing of the tensors is read.

    magic "GGUF", version, number of tensors, number of values        uint32, uint32, uint64, uint64
    values      name, type, content                                   strings: uint64 length, then UTF-8
    tensors     name, dimensions (innermost first), type, offset      offsets count from the aligned end of this
    data

(github.com/ggml-org/ggml, docs/gguf.md.) Files come from strangers: every count and length is held against what is
left of the file before anything is made of it.
"""

import mmap
import struct
from collections.abc import Callable
from dataclasses import dataclass
from math import prod
from pathlib import Path
from typing import Any

from tohum.errors import CheckpointError

MAGIC = b"GGUF"
VERSIONS = (2, 3)
MAX_DIMENSIONS, MAX_DEPTH = 4, 3
DEFAULT_ALIGNMENT = 32
STRING, ARRAY = 8, 9
SCALARS = {0: "<B", 1: "<b", 2: "<H", 3: "<h", 4: "<I", 5: "<i", 6: "<f", 7: "<?", 10: "<Q", 11: "<q", 12: "<d"}

# Number in the file -> name, numbers per block, bytes per block.
TENSOR_TYPES = {
    0: ("F32", 1, 4), 1: ("F16", 1, 2), 2: ("Q4_0", 32, 18), 3: ("Q4_1", 32, 20), 6: ("Q5_0", 32, 22),
    7: ("Q5_1", 32, 24), 8: ("Q8_0", 32, 34), 10: ("Q2_K", 256, 84), 11: ("Q3_K", 256, 110), 12: ("Q4_K", 256, 144),
    13: ("Q5_K", 256, 176), 14: ("Q6_K", 256, 210), 16: ("IQ2_XXS", 256, 66), 17: ("IQ2_XS", 256, 74),
    18: ("IQ3_XXS", 256, 98), 19: ("IQ1_S", 256, 50), 20: ("IQ4_NL", 32, 18), 21: ("IQ3_S", 256, 110),
    22: ("IQ2_S", 256, 82), 23: ("IQ4_XS", 256, 136), 29: ("IQ1_M", 256, 56), 30: ("BF16", 1, 2),
    34: ("TQ1_0", 256, 54), 35: ("TQ2_0", 256, 66), 39: ("MXFP4", 32, 17),
}


@dataclass(frozen=True, kw_only=True)
class StoredTensor:
    """Where a tensor lies."""

    shape: tuple[int, ...]  # outermost first, as everywhere else here
    type: int
    offset: int  # bytes from the beginning of the file
    bytes: int

    @property
    def type_name(self) -> str:
        return TENSOR_TYPES[self.type][0]


@dataclass(frozen=True, kw_only=True)
class GGUF:
    """The head of a file."""

    path: Path
    values: dict[str, Any]
    tensors: dict[str, StoredTensor]


class Cursor:
    """Reads little-endian things one after the other and never beyond the end. Raises CheckpointError."""

    def __init__(self, path: Path, data: "mmap.mmap | bytes"):
        self.path, self.data, self.at, self.end = path, data, 0, len(data)

    def fail(self, what: str) -> CheckpointError:
        """The line for a file that is not what it says."""
        return CheckpointError(f"{self.path}: not a whole GGUF file: {what} at byte {self.at:,} of {self.end:,}")

    def take(self, size: int, what: str) -> bytes:
        """The next `size` bytes."""
        if size > self.end - self.at:
            raise self.fail(f"{what} of {size:,} bytes, but {self.end - self.at:,} are left,")
        self.at += size
        return self.data[self.at - size : self.at]

    def number(self, form: str, what: str) -> Any:
        """One number of a `struct` format."""
        return struct.unpack(form, self.take(struct.calcsize(form), what))[0]

    def count(self, least_bytes: int, what: str) -> int:
        """A number of things that take at least so many bytes each."""
        count = self.number("<Q", what)
        if count * least_bytes > self.end - self.at:
            raise self.fail(f"{count:,} {what}, for which the file is too short,")
        return count

    def string(self, what: str) -> str:
        """Length and UTF-8; damaged characters are replaced."""
        return self.take(self.count(1, f"bytes of a {what}"), what).decode("utf-8", errors="replace")

    def value(self, kind: int, depth: int = 0) -> Any:
        """A value of a type."""
        if kind in SCALARS:
            return self.number(SCALARS[kind], "number")
        if kind == STRING:
            return self.string("string")
        if kind != ARRAY or depth == MAX_DEPTH:
            raise self.fail(f"type {kind} of a value" if kind != ARRAY else "lists inside lists inside lists")
        inner = self.number("<I", "type of a list")
        form = SCALARS.get(inner)
        count = self.count(struct.calcsize(form) if form else 8 if inner == STRING else 12, "entries of a list")
        if form:
            size = count * struct.calcsize(form)
            return list(struct.unpack(f"<{count}{form[1]}", self.take(size, "list")))
        return [self.value(inner, depth + 1) for _ in range(count)]


def read_gguf(path: Path) -> GGUF:
    """Read the head of a file. Raises CheckpointError naming the place where it is not what it says."""
    with open(path, "rb") as file:
        if file.read(4) != MAGIC:
            raise CheckpointError(f"{path}: not a GGUF file; its first bytes are not 'GGUF'")
        with mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ) as data:
            return read_head(Cursor(path, data))


def read_head(cursor: Cursor) -> GGUF:
    """Values and places of tensors."""
    cursor.take(4, "magic")
    version = cursor.number("<I", "version")
    if version not in VERSIONS:
        raise CheckpointError(f"{cursor.path}: GGUF version {version}; versions 2 and 3 are read")
    tensors = cursor.count(0, "tensors")
    values = named(cursor, cursor.count(13, "values"), "value", lambda: cursor.value(cursor.number("<I", "type")))
    if tensors * 24 > cursor.end - cursor.at:
        raise cursor.fail(f"{tensors:,} tensors, for which the file is too short,")
    places = named(cursor, tensors, "tensor", lambda: place(cursor))
    alignment = values.get("general.alignment", DEFAULT_ALIGNMENT)
    if not isinstance(alignment, int) or not 0 < alignment <= 2**16:
        raise cursor.fail(f"an alignment of {alignment!r}")
    start = -(-cursor.at // alignment) * alignment
    found = {}
    for name, (shape, kind, offset) in places.items():
        size = stored_bytes(cursor, name, shape, kind)
        if start + offset + size > cursor.end:
            raise cursor.fail(f"tensor {name} ends at byte {start + offset + size:,}, beyond the end,")
        found[name] = StoredTensor(shape=shape, type=kind, offset=start + offset, bytes=size)
    return GGUF(path=cursor.path, values=values, tensors=found)


def named(cursor: Cursor, count: int, what: str, read: Callable[[], Any]) -> dict[str, Any]:
    """`count` names, each with what `read` finds behind it."""
    found: dict[str, Any] = {}
    for _ in range(count):
        name = cursor.string(f"name of a {what}")
        if name in found:
            raise cursor.fail(f"{what} {name[:60]!r} a second time")
        found[name] = read()
    return found


def place(cursor: Cursor) -> tuple[tuple[int, ...], int, int]:
    """Shape, type and offset of a tensor."""
    dimensions = cursor.number("<I", "number of dimensions")
    if dimensions > MAX_DIMENSIONS:
        raise cursor.fail(f"{dimensions} dimensions")
    sizes = [cursor.number("<Q", "dimension") for _ in range(dimensions)]
    return tuple(reversed(sizes)), cursor.number("<I", "type of a tensor"), cursor.number("<Q", "offset")


def stored_bytes(cursor: Cursor, name: str, shape: tuple[int, ...], kind: int) -> int:
    """Size of a tensor in the file."""
    if kind not in TENSOR_TYPES:
        raise CheckpointError(f"{cursor.path}: tensor {name} has type {kind}, which is not read")
    type_name, block, size = TENSOR_TYPES[kind]
    if not shape or shape[-1] % block or min(shape) < 1:
        raise cursor.fail(f"tensor {name} of shape {list(shape)} and type {type_name}")
    return prod(shape) // block * size
