"""Is what `--out` holds already the wanted data? The key is everything that decides the result."""

from pathlib import Path
from typing import Any

from tohum.data_sampling.index import INDEX_NAME, read_index
from tohum.data_sampling.shards import DataFolder
from tohum.errors import ConfigError, DataError


def reusable(out: Path, wanted: dict[str, Any], force: bool) -> DataFolder | None:
    """The data folder `out` if it was made from exactly this; None if it is to be made.

    Raises ConfigError naming what differs, unless `force`.
    """
    if not (out / INDEX_NAME).is_file():
        return None
    try:
        data = DataFolder.open(out)
        have = read_index(out).settings
    except DataError:
        if force:
            return None
        raise
    changed = differences(have, wanted)
    if not changed:
        return data
    if force:
        return None
    more = f" and {len(changed) - 3} more" if len(changed) > 3 else ""
    raise ConfigError(f"{out} was prepared differently: {'; '.join(changed[:3])}{more}\n"
                      "choose another --out, or give --force to prepare it again")


def differences(have: dict[str, Any], wanted: dict[str, Any]) -> list[str]:
    """What changed, in words."""
    found = []
    old, new = have["sources"], wanted["sources"]
    for name in [*old, *(name for name in new if name not in old)]:
        if name not in new:
            found.append(f"source '{name}' is no longer there")
        elif name not in old:
            found.append(f"source '{name}' is new")
        elif old[name] != new[name]:
            found.append(f"the content of source '{name}' changed")
    if not found and list(old) != list(new):
        found.append("the order of the sources changed")
    if have["tokenizer"] != wanted["tokenizer"]:
        found.append(f"another tokenizer ({have['tokenizer'][:12]}, now {wanted['tokenizer'][:12]})")
    found += [f"{key} {have[key]}, now {wanted[key]}" for key in wanted
              if key not in ("sources", "tokenizer") and have[key] != wanted[key]]
    return found


def may_write(out: Path, force: bool) -> None:
    """Even --force replaces nothing but a data folder or an empty one. Raises ConfigError."""
    if not out.exists() or (out.is_dir() and not any(out.iterdir())):
        return
    if not (out / INDEX_NAME).is_file():
        raise ConfigError(f"{out} exists already and is not a data folder; choose another --out")
    if not force:
        raise ConfigError(f"{out} exists already; choose another --out, or give --force to replace it")
