"""The tensors of a GGUF file -> torch tensors, quantised numbers written out in slices of rows."""

from collections.abc import Mapping
from typing import Any

import numpy as np
import torch
from torch import Tensor

from tohum.errors import ConfigError
from tohum.gguf import GGUF, StoredTensor
from tohum.loading.names import Shape

SLICE_NUMBERS = 2**22  # written out at once: 16 MB in float32
PLAIN = {"F32": np.dtype("<f4"), "F16": np.dtype("<f2")}
ROPE_FREQUENCIES = "rope_freqs.weight"  # what Llama 3's stretching divides the frequencies by


class GGUFTensors:
    """The tensors of a file, each in memory of its own in `dtype` when it is asked for."""

    def __init__(self, gguf: GGUF, dtype: torch.dtype):
        self.where, self.gguf, self.dtype = str(gguf.path), gguf, dtype
        self.data = np.memmap(gguf.path, dtype=np.uint8, mode="r")

    @property
    def shapes(self) -> Mapping[str, Shape]:
        """Shape of every tensor but the rotary factors, which the configuration took."""
        return {name: stored.shape for name, stored in self.gguf.tensors.items() if name != ROPE_FREQUENCIES}

    def tensor(self, name: str) -> Tensor:
        """The numbers of a tensor. Raises ConfigError where the library that knows its type is not installed."""
        stored = self.gguf.tensors[name]
        made = torch.empty(stored.shape, dtype=self.dtype)
        flat = made.view(-1, stored.shape[-1])  # rows
        rows, step = len(flat), max(1, SLICE_NUMBERS // stored.shape[-1])
        for start in range(0, rows, step):
            end = min(rows, start + step)
            flat[start:end] = torch.from_numpy(self.rows(stored, start, end))
        return made

    def rows(self, stored: StoredTensor, start: int, end: int) -> np.ndarray:
        """Rows start..end-1 as float32 (n, columns)."""
        per_row = stored.bytes // (int(np.prod(stored.shape, dtype=object)) // stored.shape[-1])
        raw = np.array(self.data[stored.offset + start * per_row : stored.offset + end * per_row])
        if stored.type_name in PLAIN:
            return raw.view(PLAIN[stored.type_name]).astype(np.float32).reshape(end - start, -1)
        library = gguf_library(f"{self.where}: reading numbers of type {stored.type_name}")
        return library.quants.dequantize(raw.reshape(end - start, per_row), library.GGMLQuantizationType(stored.type))


def gguf_library(what: str) -> Any:
    """llama.cpp's own package, which knows every number format. Raises ConfigError where it is not installed."""
    try:
        import gguf
        import gguf.quants
    except ImportError:
        raise ConfigError(f'{what} needs: pip install "tohum[gguf]"') from None
    return gguf
