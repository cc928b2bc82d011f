"""Run folder: a request -> a folder that holds what was asked for, this machine, and room for checkpoints.

    runs/first/config.toml  plan.json  env.json  metrics.jsonl  samples.jsonl  checkpoints/  best  last  result.json
"""

import json
import shutil
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Generic, TypeVar

from tohum.config import Config
from tohum.environment import environment
from tohum.errors import CheckpointError, ConfigError, TohumError
from tohum.files import write_directory, write_json
from tohum.training import checkpoint
from tohum.training.checkpoint import Identity
from tohum.training.step import Parts

AnyRecipe = TypeVar("AnyRecipe", bound=Config)


@dataclass(frozen=True, kw_only=True)
class Request(Generic[AnyRecipe]):
    """What the user asked for, before anything is filled in."""

    recipe: AnyRecipe
    out: Path
    resume: bool = False
    force: bool = False
    profile: bool = False  # of a few steps; changes nothing in the run


def start_folder(request: Request[Any], fill: Callable[[Path], None]) -> None:
    """Make the run folder in one rename; `fill` writes what is the stage's own. Raises ConfigError."""
    out = request.out.absolute()
    if request.resume and not checkpoint.steps(out) and out.is_dir():
        if any(out.iterdir()) and not (out / "config.toml").is_file():
            raise ConfigError(f"{out} holds no run; choose another --out")
        shutil.rmtree(out)  # the debris of a killed start
    elif out.is_dir() and any(out.iterdir()):
        if not request.force:
            raise ConfigError(f"{out} exists already; give --resume to continue it, --force to replace it, "
                              "or choose another --out")
        shutil.rmtree(out)
    elif out.is_dir():
        out.rmdir()

    def fill_all(draft: Path) -> None:
        fill(draft)
        write_json(draft / "env.json", environment())
        (draft / "checkpoints").mkdir()

    write_directory(out, fill_all)


def rehearse_saving(out: Path, parts: Parts, identity: Identity, keep_last: int) -> None:
    """A trial checkpoint; a run that cannot save leaves no folder behind, unless it has checkpoints already."""
    try:
        checkpoint.preflight(out, parts, identity, keep_last)
    except TohumError:
        if not checkpoint.steps(out):
            shutil.rmtree(out, ignore_errors=True)
        raise


def asked(recipe: Config, left_out: Sequence[str]) -> dict[str, Any]:
    """What decides a run, as it was asked for, without the keys that may change between starts."""
    values = recipe.model_dump(mode="json", exclude_none=True)
    return {section: {k: v for k, v in keys.items() if k not in left_out} for section, keys in values.items()}


def refuse_other(out: Path, before: Mapping[str, Any], now: Mapping[str, Any], nothing: Mapping[str, Any]) -> None:
    """Raises ConfigError naming what differs between the run's request and this one; no option at all is enough."""
    if now in (before, nothing):
        return
    flat = [{f"{s}.{k}": v for s, keys in values.items() for k, v in keys.items()} for values in (before, now)]
    names = sorted(k for k in flat[0].keys() | flat[1].keys() if flat[0].get(k) != flat[1].get(k))
    shown = ", ".join(f"{k} was {flat[0].get(k, 'not given')}, now {flat[1].get(k, 'not given')}" for k in names[:3])
    raise ConfigError(f"{out} was started otherwise: {shown}\n"
                      "resume with the options it was started with, or choose another --out")


def finished_result(out: Path) -> dict[str, Any] | None:
    """The stored result of a run that has ended."""
    path = out / "result.json"
    if not path.is_file():
        return None
    try:
        return json.loads(path.read_text("utf-8"))
    except ValueError as error:
        raise CheckpointError(f"{path} cannot be read ({error}); remove it and resume again") from None


def hours_to_seconds(hours: float | None) -> float | None:
    """None stays None."""
    return None if hours is None else hours * 3600.0
