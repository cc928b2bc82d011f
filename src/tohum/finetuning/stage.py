"""A fine-tuning stage from end to end, the same for all three: request -> run folder -> the figures of its test.

    read and encode -> run folder -> (before) -> train -> best weights -> (after) -> result.json
"""

import shutil
from collections.abc import Callable, Sized
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Generic, Protocol, TypeVar

import torch

from tohum.errors import ConfigError
from tohum.files import write_json
from tohum.finetuning.base import Opened, open_base
from tohum.finetuning.config import FinetuneRecipe
from tohum.finetuning.resolve import Sizes, resolve
from tohum.finetuning.run import Begun, Setup, begin, run, start
from tohum.finetuning.trainable import check_choice
from tohum.training.journal import Journal
from tohum.training.run_folder import Request, finished_result, hours_to_seconds
from tohum.training.stopping import StopRequests

CLASSES = "classify"  # the kind of run that gives a model a new head
CACHE = "cache"  # folder of a run for what can be computed again, removed at its end
FULLER = 2  # a step may hold twice the tokens of a mean one
Say = Callable[[str], None]
Recipe = TypeVar("Recipe", bound=FinetuneRecipe)


class Prepared(Protocol):
    """A file, read, shared out and encoded."""

    @property
    def train(self) -> Sized: ...

    def to_json(self) -> dict[str, Any]:
        """What the report shows of the data."""
        ...


Rows = TypeVar("Rows", bound=Prepared)


@dataclass(frozen=True, kw_only=True)
class Work(Generic[Recipe, Rows]):
    """A run on its way."""

    out: Path
    begun: Begun[Recipe]
    opened: Opened
    rows: Rows
    say: Say

    @property
    def recipe(self) -> Recipe:
        """Without gaps, once the run folder is there."""
        return self.begun.recipe

    @property
    def micro_tokens(self) -> int:
        """Tokens of one pass."""
        assert self.recipe.training.micro_tokens, "the recipe is not resolved"
        return self.recipe.training.micro_tokens

    @property
    def batch_rows(self) -> int:
        """Examples of a step."""
        assert self.recipe.training.batch_rows, "the recipe is not resolved"
        return self.recipe.training.batch_rows

    def pass_tokens(self, longest: int, tokens_per_step: int) -> int:
        """Of the largest pass: as the recipe has it, or what one example or a whole step fills of it."""
        return max(longest, min(self.micro_tokens, FULLER * tokens_per_step))

    @property
    def dtype(self) -> torch.dtype:
        """Of the weights: float64 where the whole run is to be in it."""
        return torch.float64 if self.recipe.training.dtype == "fp64" else torch.float32


@dataclass(frozen=True, kw_only=True)
class Stage(Generic[Recipe, Rows]):
    """What differs."""

    kind: str
    seen_rows: int  # these three where the user says nothing: see finetuning/resolve.py, `Sizes`
    batch_rows: int
    lr_scale: float = 1.0
    prepare: Callable[[Recipe, Opened, Say], Rows]
    before: Callable[[Work[Recipe, Rows]], None]  # what the model can do untrained; nothing is frozen yet
    build: Callable[[Work[Recipe, Rows]], Setup]
    after: Callable[[Work[Recipe, Rows], Setup, Path], dict[str, Any]]  # its test, with the best weights (their folder)


def finetune(request: Request[Recipe], stage: Stage[Recipe, Rows], say: Say) -> dict[str, Any]:
    """Train, or continue, or repeat the result of a finished run. Returns the `--json` object.

    Raises TohumError for everything that a user can mend; StoppedError when stopped with a checkpoint saved.
    """
    out = request.out.absolute()
    begun = begin(request)
    say = say if begun.ranks.is_main else silent
    if begun.stored and (finished := finished_result(out)):
        return finished
    opened = open_base(needed(begun.recipe.model.folder, "model"), out, continued=begun.stored, dtype=torch.float32,
                       device=begun.precision.device, new_tokens=begun.recipe.lora.new_tokens,
                       int8=begun.recipe.lora.base_format == "int8")
    check_choice(opened.network, begun.recipe.training.train, begun.recipe.lora, new_head=stage.kind == CLASSES)
    if opened.note:
        say(opened.note)
    rows = stage.prepare(begun.recipe, opened, say)
    if not begun.stored:
        sizes = Sizes(rows=len(rows.train), seen_rows=stage.seen_rows, batch_rows=stage.batch_rows,
                      lr_scale=stage.lr_scale)
        begun = replace(begun, recipe=resolve(begun.recipe, sizes, begun.ranks.world_size))
        start(request, begun.recipe, {"kind": stage.kind, "data": rows.to_json()}, begun.ranks)
    work = Work(out=out, begun=begun, opened=opened, rows=rows, say=say)
    if begun.ranks.is_main:
        opened.keep()
        stage.before(work)
    begun.ranks.wait()
    with StopRequests(hours_to_seconds(begun.recipe.training.max_hours)) as stop:
        setup = stage.build(work)
        done = run(out, begun.recipe, setup, begun.ranks, stop, base=opened.sha256, profiled=request.profile)
    test = stage.after(work, setup, Path(done.figures["checkpoint"]))
    result = done.figures | {"kind": stage.kind, "test": test, "data": rows.to_json()}
    if begun.ranks.is_main:
        shutil.rmtree(out / CACHE, ignore_errors=True)
        Journal(out).write("event", event="finished", step=done.state.step, seconds=round(done.state.seconds, 3))
        write_json(out / "result.json", result)
    begun.ranks.wait()
    return result if begun.ranks.is_main else finished_result(out) or {}


def silent(_: str) -> None:
    """What processes but the first say."""


def needed(value: str | None, what: str) -> Path:
    """A path that the recipe must have. Raises ConfigError."""
    if value is None:
        raise ConfigError(f"no {what}: name it on the command line, or in the recipe")
    return Path(value)
