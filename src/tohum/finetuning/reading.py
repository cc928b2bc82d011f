"""How a classifier reads: what its run found out -> temperature of its probabilities, how much of a text it reads.

A run keeps both in its result; a folder that was made of it (tohum merge) keeps them in its tohum.json.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from tohum.errors import CheckpointError
from tohum.finetuning.adapter_folder import NOTE
from tohum.loading.keys import read_json


@dataclass(frozen=True, kw_only=True)
class Reading:
    """Without a run nothing is known: probabilities as they are, texts up to the model's context."""

    temperature: float = 1.0
    max_length: int | None = None


def reading_of(path: Path) -> Reading:
    """Of a finished run, or of a folder that was merged from one. Raises CheckpointError for a damaged note."""
    for name in ("result.json", NOTE):
        if (path / name).is_file():
            found = read_json(path / name)
            values = found if name == NOTE else found.get("test", {}) | found.get("data", {})
            return read_values(values, path / name)
    return Reading()


def read_values(values: Mapping[str, Any], where: Path) -> Reading:
    """Both, or neither: a note of an adapter alone has none of them. Raises CheckpointError."""
    heat, length = values.get("temperature"), values.get("max_length")
    if heat is None:
        return Reading()
    if not isinstance(heat, int | float) or not heat > 0 or not isinstance(length, int | None):
        raise CheckpointError(f"{where}: temperature = {heat!r}, max_length = {length!r}; expected two numbers above 0")
    return Reading(temperature=float(heat), max_length=length)
