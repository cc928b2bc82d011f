"""pytorch_model.bin -> tensors by name, through torch's unpickler that makes nothing but tensors (weights_only=True).

Only importing reads these files, and what it writes is safetensors.
"""

import io
import pickle
import re
from collections.abc import Mapping
from functools import cached_property
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from tohum.errors import CheckpointError
from tohum.loading.keys import read_json
from tohum.loading.names import Shape

FILE, INDEX = "pytorch_model.bin", "pytorch_model.bin.index.json"


def has_pickles(folder: Path) -> bool:
    """Whether a folder's weights are pickles."""
    return (folder / FILE).is_file() or (folder / INDEX).is_file()


class PickledFiles:
    """The tensors of a folder's pytorch_model files."""

    def __init__(self, folder: Path):
        self.where = str(folder / (INDEX if (folder / INDEX).is_file() else FILE))
        self.tensors: dict[str, Tensor] = {}
        for path in pickle_paths(folder):
            self.tensors |= read_pickle(path)

    @cached_property
    def shapes(self) -> Mapping[str, Shape]:
        """Shape of every tensor."""
        return {name: tuple(tensor.shape) for name, tensor in self.tensors.items()}

    def tensor(self, name: str) -> Tensor:
        """One tensor, a view of the mapped file where its format allows."""
        return self.tensors[name]


def pickle_paths(folder: Path) -> list[Path]:
    """The files; an index must not lead out of the folder. Raises CheckpointError."""
    if not (folder / INDEX).is_file():
        return [folder / FILE]
    files = read_json(folder / INDEX).get("weight_map")
    if not isinstance(files, dict) or not all(isinstance(name, str) and Path(name).name == name
                                              for name in files.values()):
        raise CheckpointError(f"{folder / INDEX}: expected a 'weight_map' of tensor names to files beside it")
    return [folder / name for name in sorted(set(files.values()))]


def read_pickle(path: Path) -> dict[str, Tensor]:
    """Tensors by name. Raises CheckpointError for files that hold, or would do, anything else."""
    if not path.is_file():
        raise CheckpointError(f"{path}: no such file")
    try:
        found: Any = load(path)
    except pickle.UnpicklingError as error:
        named = re.search(r"GLOBAL ([\w.]+)", str(error))
        wants = f" ({named[1]})" if named else ""
        raise CheckpointError(f"{path}: a pickle that asks for more than tensors{wants}; opening it could run a "
                              "stranger's code, so it was refused\n"
                              "ask for the same weights as model.safetensors") from None
    except Exception as error:  # torch's unpickler fails on damaged files in every way there is
        why = (str(error).strip() or type(error).__name__).splitlines()[0][:160]
        raise CheckpointError(f"{path}: not a whole pytorch_model file: {why}") from None
    if not isinstance(found, dict) or not all(isinstance(key, str) and isinstance(value, Tensor)
                                              for key, value in found.items()):
        raise CheckpointError(f"{path}: expected tensors by name")
    return found


class Bounded(io.BufferedReader):
    """A file of which nobody reads more than there is: a damaged length would else be allocated first."""

    def __init__(self, path: Path):
        super().__init__(io.FileIO(path))
        self.size = path.stat().st_size

    def read(self, size: int | None = -1) -> bytes:
        """At most what is left."""
        left = max(0, self.size - self.tell())
        return super().read(left if size is None or size < 0 else min(size, left))


def load(path: Path) -> Any:
    """Mapped where the file is of the newer kind (a zip)."""
    with Bounded(path) as file:
        mapped = file.read(2) == b"PK"
        file.seek(0)
        return torch.load(path if mapped else file, map_location="cpu", weights_only=True, mmap=mapped)
