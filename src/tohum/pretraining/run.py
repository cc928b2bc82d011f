"""Pre-training from end to end: recipe + data folder -> run folder -> the figures that a user asked for."""

import json
import shutil
import sys
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from tohum.config import read_toml, validate, write_toml
from tohum.data_sampling.shards import DataFolder
from tohum.environment import environment
from tohum.errors import CheckpointError, ConfigError, TohumError
from tohum.files import write_directory, write_json
from tohum.machine import peak_memory_bytes, pick_device, process_seconds, tune_allocator
from tohum.pretraining.budget import Budget
from tohum.pretraining.build import Built, build
from tohum.pretraining.closing import close
from tohum.pretraining.config import PretrainRecipe, ResolvedRecipe
from tohum.pretraining.forecast import Forecast
from tohum.pretraining.plan import Plan, make_plan
from tohum.pretraining.progress import Progress
from tohum.pretraining.watch import RunWatch
from tohum.training import checkpoint
from tohum.training.journal import Journal
from tohum.training.loop import train
from tohum.training.ranks import Ranks
from tohum.training.state import TrainState
from tohum.training.stopping import StopRequested, StopRequests

REPEATABLE = ("max_hours", "keep_last", "patience")  # keys that a resume may give anew


@dataclass(frozen=True, kw_only=True)
class Request:
    """What the user asked for, before anything is filled in."""

    recipe: PretrainRecipe
    out: Path
    resume: bool = False
    force: bool = False


def pretrain(request: Request) -> dict[str, Any]:
    """Train, or continue, or repeat the result of a finished run. Returns the `--json` object.

    Raises TohumError for everything that a user can mend; StoppedError when stopped with a checkpoint saved.
    """
    tune_allocator()
    ranks = Ranks.from_environment(pick_device(request.recipe.training.device))
    out = request.out.absolute()
    finished = finished_result(request) if request.resume else None
    if finished:
        return finished
    data = DataFolder.open(Path(data_folder(request)))
    stored = stored_plan(request) if request.resume else None
    plan = stored or make_plan(request.recipe, data, ranks)
    ranks.wait()
    for note in plan.notes if ranks.is_main and not stored else ():
        print(note, file=sys.stderr)
    if ranks.is_main and not stored:
        start_folder(out, request, plan)
    ranks.wait()
    built = build(plan.recipe, plan.config, data, ranks)
    with StopRequests(hours_to_seconds(request.recipe.training.max_hours)) as stop:
        return run(out, plan, built, data, stop)


def run(out: Path, plan: Plan, built: Built, data: DataFolder, stop: StopRequests) -> dict[str, Any]:
    """Train by the plan, then close the run: baselines, result, report."""
    ranks = built.parts.ranks
    t = plan.recipe.training
    if ranks.is_main:
        checkpoint.sweep(out)
        rehearse_saving(out, built, t.keep_last)
    budget = Budget(plan.budget_seconds, plan.closing_seconds, t.steps) if plan.budget_seconds else None
    forecast = Forecast(steps=t.steps, prior=plan.prediction) if ranks.is_main and plan.prediction else None
    journal = Journal(out, enabled=ranks.is_main)
    with Progress(t.steps, t.batch_tokens, enabled=ranks.is_main, overhead_seconds=plan.closing_seconds) as progress:
        watch = RunWatch(recipe=plan.recipe, built=built, data=data, journal=journal, progress=progress,
                         budget=budget, forecast=forecast)
        state = train(out, built.plan, built.parts, built.identity, watch, stop)
        if not watch.saw_all:  # ended by patience, or killed between the last checkpoint and its result
            try:
                watch.validate(state, stop, whole=True)
            except StopRequested:
                raise stop.error(state.step, out) from None
    result = figures(out, state, watch, built)
    if ranks.is_main:
        result = close(out, plan, result, state, data)
    ranks.wait()
    return result


def rehearse_saving(out: Path, built: Built, keep_last: int) -> None:
    """A trial checkpoint; a run that cannot save leaves no folder behind, unless it has checkpoints already."""
    try:
        checkpoint.preflight(out, built.parts, built.identity, keep_last)
    except TohumError:
        if not checkpoint.steps(out):
            shutil.rmtree(out, ignore_errors=True)
        raise


def figures(out: Path, state: TrainState, watch: RunWatch, built: Built) -> dict[str, Any]:
    """The contract's keys."""
    last = watch.last_evaluation
    return {"steps": state.step, "tokens": state.tokens, "seconds": round(state.seconds, 3),
            "tokens_per_second": round(state.tokens / max(state.seconds, 1e-9), 1), "train_loss": state.loss,
            "val_loss": last.loss if last else None, "val_bits_per_byte": last.bits_per_byte if last else None,
            "best_step": state.best_step, "peak_memory_bytes": peak_memory_bytes(built.precision.device),
            "process_seconds": round(process_seconds(), 3),
            "checkpoint": str((out / "last").resolve())}


def start_folder(out: Path, request: Request, plan: Plan) -> None:
    """The run folder with its resolved recipe, its plan and this machine, in one rename."""
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

    def fill(draft: Path) -> None:
        write_toml(draft / "config.toml", plan.recipe)
        write_json(draft / "plan.json", plan.to_json() | {"requested": asked(request.recipe)})
        write_json(draft / "env.json", environment())
        (draft / "checkpoints").mkdir()

    write_directory(out, fill)


def asked(recipe: PretrainRecipe) -> dict[str, Any]:
    """What decides a run, as it was asked for; which data it is, is told by the fingerprint."""
    values = recipe.model_dump(mode="json", exclude_none=True)
    left_out = (*REPEATABLE, "folder")
    return {section: {k: v for k, v in keys.items() if k not in left_out} for section, keys in values.items()}


def stored_plan(request: Request) -> Plan | None:
    """The plan of a run that can be continued; None when nothing is there yet. Raises CheckpointError."""
    out = request.out
    if not (out / "config.toml").is_file() or not checkpoint.steps(out):
        return None
    recipe = validate(ResolvedRecipe, read_toml(out / "config.toml"), where=str(out / "config.toml"))
    try:
        stored = json.loads((out / "plan.json").read_text("utf-8"))
    except (OSError, ValueError) as error:
        raise CheckpointError(f"{out / 'plan.json'} cannot be read ({error}); the run cannot be continued") from None
    refuse_other(out, stored["requested"], asked(request.recipe))
    again = {key: value for key in REPEATABLE if (value := getattr(request.recipe.training, key)) is not None}
    return Plan.from_json(stored, recipe.with_training(**again))


def refuse_other(out: Path, before: Mapping[str, Any], now: Mapping[str, Any]) -> None:
    """Raises ConfigError naming what differs between the run's request and this one; no option at all is enough."""
    if now in (before, asked(PretrainRecipe())):
        return
    flat = [{f"{s}.{k}": v for s, keys in values.items() for k, v in keys.items()} for values in (before, now)]
    names = sorted(k for k in flat[0].keys() | flat[1].keys() if flat[0].get(k) != flat[1].get(k))
    shown = ", ".join(f"{k} was {flat[0].get(k, 'not given')}, now {flat[1].get(k, 'not given')}" for k in names[:3])
    raise ConfigError(f"{out} was started otherwise: {shown}\n"
                      "resume with the options it was started with, or choose another --out")


def finished_result(request: Request) -> dict[str, Any] | None:
    """The stored result of a run that has ended."""
    path = request.out / "result.json"
    if not path.is_file():
        return None
    stored_plan(request)
    try:
        return json.loads(path.read_text("utf-8"))
    except ValueError as error:
        raise CheckpointError(f"{path} cannot be read ({error}); remove it and resume again") from None


def data_folder(request: Request) -> str:
    """The folder from --data, the recipe, or the run itself."""
    folder = request.recipe.data.folder
    if folder is None:
        raise ConfigError("no data: give --data DIR, a folder that 'tohum data prepare' wrote")
    return folder


def hours_to_seconds(hours: float | None) -> float | None:
    """None stays None."""
    return None if hours is None else hours * 3600.0


