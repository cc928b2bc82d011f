"""`tohum env`: a machine report to paste into an issue."""

from collections.abc import Iterator
from typing import Any

import click

from tohum.cli.options import json_option
from tohum.cli.output import emit


@click.command("env")
@json_option
def command(as_json: bool) -> None:
    """Versions, processor, memory, torch build, allocator and GPUs; no host name, user name or path.

    The same object is stored with every run as env.json.
    """
    from tohum.environment import environment
    from tohum.kernels.build import SOURCES, library, usual_lanes

    for work in SOURCES:  # compiled now, if it has to be: the report says whether it can be
        library(work, usual_lanes(work))
    found = environment()
    emit(found, "\n".join(f"{key:<33} {value}" for key, value in rows(found)), as_json)


def rows(values: dict[str, Any], prefix: str = "") -> Iterator[tuple[str, str]]:
    """Nested values as dotted keys and text; what is empty is left out."""
    from tohum.units import human_bytes

    for key, value in values.items():
        name = f"{prefix}{key}"
        if isinstance(value, dict):
            yield from rows(value, f"{name}.")
        elif isinstance(value, list) and value and isinstance(value[0], dict):
            for index, item in enumerate(value):
                yield from rows(item, f"{name}.{index}.")
        elif isinstance(value, list):
            yield name, " ".join(map(str, value)) or "none"
        elif key.endswith("_bytes") and value is not None:
            yield name.removesuffix("_bytes"), human_bytes(value)
        elif value is not None:
            yield name, str(value)
