"""Weights: tensors by name <-> model.safetensors, or shards of it with an index. Nothing here unpickles."""

import os
import re
from collections.abc import Mapping
from functools import cached_property
from pathlib import Path

from safetensors import SafetensorError, safe_open
from safetensors.torch import save_file
from torch import Tensor

from tohum.errors import CheckpointError
from tohum.files import write_json
from tohum.loading.keys import read_json
from tohum.loading.names import Shape

WEIGHTS, INDEX = "model.safetensors", "model.safetensors.index.json"
SHARD_BYTES = 5_000_000_000  # a file larger than this is split, as Hugging Face folders are


class WeightFiles:
    """The safetensors files of a folder: shapes from their headers, tensors read when asked for."""

    def __init__(self, folder: Path):
        self.paths = weight_paths(folder)
        self.where = str(self.paths[0] if len(self.paths) == 1 else folder / INDEX)
        self.files = {path: open_file(path) for path in self.paths}
        self.path_of = {name: path for path, file in self.files.items() for name in file.keys()}  # noqa: SIM118

    @cached_property
    def shapes(self) -> Mapping[str, Shape]:
        """Shape of every tensor, by its stored name."""
        return {name: tuple(self.files[path].get_slice(name).get_shape())
                for name, path in self.path_of.items()}

    @property
    def formats(self) -> set[str]:
        """Number formats that occur, as safetensors calls them: F32, BF16, F16."""
        return {self.files[path].get_slice(name).get_dtype() for name, path in self.path_of.items()}

    def tensor(self, name: str) -> Tensor:
        """One tensor, a view of the mapped file. Raises CheckpointError."""
        path = self.path_of[name]
        try:
            return self.files[path].get_tensor(name)
        except (SafetensorError, OSError) as error:
            raise CheckpointError(f"{path}: tensor {name} cannot be read: {error}") from None


def open_file(path: Path) -> safe_open:
    """Open a safetensors file; its header is held against the size of the file. Raises CheckpointError."""
    try:
        return safe_open(path, framework="pt")
    except (SafetensorError, OSError) as error:
        size = f"{path.stat().st_size:,} bytes" if path.is_file() else "missing"
        raise CheckpointError(f"{path}: not a complete safetensors file ({size}): {str(error).strip()}; "
                              f"copy it again or use an earlier checkpoint") from None


def weight_paths(folder: Path) -> list[Path]:
    """The files that hold a folder's weights. Raises CheckpointError naming what is missing."""
    if (folder / WEIGHTS).is_file():
        return [folder / WEIGHTS]
    if not (folder / INDEX).is_file():
        pickled = "; its pytorch_model files are pickles, which can run code; 'tohum import' reads them safely" if any(
            folder.glob("pytorch_model*")) else ""
        raise CheckpointError(f"{folder}: has no {WEIGHTS}{pickled}")
    files = read_json(folder / INDEX).get("weight_map")
    if not isinstance(files, dict) or not files or not all(is_plain_name(name) for name in files.values()):
        raise CheckpointError(f"{folder / INDEX}: expected a 'weight_map' of tensor names to files beside it")
    return [folder / name for name in sorted(set(files.values()))]


def is_plain_name(name: object) -> bool:
    """A file of the folder itself: an index must not lead elsewhere."""
    return isinstance(name, str) and Path(name).name == name and name.endswith(".safetensors")


def write_weights(folder: Path, tensors: Mapping[str, Tensor], shard_bytes: int = SHARD_BYTES) -> None:
    """Write tensors (contiguous, on the CPU) into `folder`, split into shards above `shard_bytes`."""
    shards = split(tensors, shard_bytes)
    if len(shards) == 1:
        write_file(folder / WEIGHTS, shards[0])
        return
    places: dict[str, str] = {}
    for number, shard in enumerate(shards, 1):
        name = f"model-{number:05d}-of-{len(shards):05d}.safetensors"
        write_file(folder / name, shard)
        places |= dict.fromkeys(shard, name)
    total = sum(tensor.nbytes for tensor in tensors.values())
    write_json(folder / INDEX, {"metadata": {"total_size": total}, "weight_map": places})


def split(tensors: Mapping[str, Tensor], shard_bytes: int) -> list[dict[str, Tensor]]:
    """In order, as many tensors to a shard as fit; one that is larger has a shard of its own."""
    shards: list[dict[str, Tensor]] = [{}]
    used = 0
    for name, tensor in tensors.items():
        if shards[-1] and used + tensor.nbytes > shard_bytes:
            shards.append({})
            used = 0
        shards[-1][name] = tensor
        used += tensor.nbytes
    return shards


def write_file(path: Path, tensors: Mapping[str, Tensor]) -> None:
    """One safetensors file. Raises OSError, as other writers do, when the system refuses (a full disk)."""
    path.touch()
    mode = path.stat().st_mode  # as the user's umask has it; safetensors would make a file for its owner alone
    try:
        save_file(dict(tensors), path, metadata={"format": "pt"})  # transformers asks for this mark
        path.chmod(mode)
    except SafetensorError as error:
        code = re.search(r"os error (\d+)", str(error))
        if code is None:
            raise
        raise OSError(int(code[1]), os.strerror(int(code[1])), str(path)) from error
