"""How a classifier reads: what its run found out -> temperature of its probabilities, how much of a text it reads.

A run keeps both in its result; a folder that was made of it (tohum merge) keeps them in its tohum.json.
"""

import json
from dataclasses import dataclass
from pathlib import Path

from tohum.finetuning.adapter_folder import NOTE


@dataclass(frozen=True, kw_only=True)
class Reading:
    """Without a run nothing is known: probabilities as they are, texts up to the model's context."""

    temperature: float = 1.0
    max_length: int | None = None


def reading_of(path: Path) -> Reading:
    """Of a finished run, or of a folder that was merged from one."""
    try:
        if (path / "result.json").is_file():
            result = json.loads((path / "result.json").read_text("utf-8"))
            return Reading(temperature=float(result["test"]["temperature"]),
                           max_length=int(result["data"]["max_length"]))
        noted = json.loads((path / NOTE).read_text("utf-8"))
        return Reading(temperature=float(noted["temperature"]), max_length=noted["max_length"])
    except (OSError, ValueError, KeyError, TypeError):
        return Reading()
