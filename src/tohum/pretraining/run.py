"""Pre-training from end to end: recipe + data folder -> run folder -> the figures that a user asked for."""

import json
import sys
from pathlib import Path
from typing import Any

from tohum.config import read_toml, validate, write_toml
from tohum.data_sampling.shards import DataFolder
from tohum.errors import CheckpointError, ConfigError
from tohum.files import write_json
from tohum.kernels.memory import tune_memory
from tohum.machine import peak_memory_bytes, pick_device, process_seconds, tune_products
from tohum.pretraining.build import Built, build
from tohum.pretraining.closing import close
from tohum.pretraining.config import PretrainRecipe, ResolvedRecipe
from tohum.pretraining.forecast import Forecast
from tohum.pretraining.plan import Plan, make_plan
from tohum.pretraining.watch import RunWatch
from tohum.training import checkpoint
from tohum.training.budget import Budget
from tohum.training.journal import Journal
from tohum.training.loop import train
from tohum.training.profile import profile_of
from tohum.training.progress import Progress
from tohum.training.ranks import Ranks
from tohum.training.run_folder import (
    Request,
    asked,
    finished_result,
    hours_to_seconds,
    refuse_other,
    rehearse_saving,
    start_folder,
)
from tohum.training.state import TrainState
from tohum.training.stopping import StopRequested, StopRequests

REPEATABLE = ("max_hours", "keep_last", "patience")  # keys that a resume may give anew
LEFT_OUT = (*REPEATABLE, "folder")  # which data it is, is told by the fingerprint


def pretrain(request: Request[PretrainRecipe]) -> dict[str, Any]:
    """Train, or continue, or repeat the result of a finished run. Returns the `--json` object.

    Raises TohumError for everything that a user can mend; StoppedError when stopped with a checkpoint saved.
    """
    tune_memory()
    tune_products()
    ranks = Ranks.from_environment(pick_device(request.recipe.training.device))
    out = request.out.absolute()
    finished = finished_result(out) if request.resume else None
    if finished:
        stored_plan(request)
        return finished
    data = DataFolder.open(Path(data_folder(request)))
    stored = stored_plan(request) if request.resume else None
    plan = stored or make_plan(request.recipe, data, ranks)
    ranks.wait()
    for note in plan.notes if ranks.is_main and not stored else ():
        print(note, file=sys.stderr)
    if ranks.is_main and not stored:
        start(request, plan)
    ranks.wait()
    built = build(plan.recipe, plan.config, data, ranks)
    with StopRequests(hours_to_seconds(request.recipe.training.max_hours)) as stop:
        return run(out, plan, built, data, stop, profiled=request.profile)


def run(out: Path, plan: Plan, built: Built, data: DataFolder, stop: StopRequests, *,
        profiled: bool = False) -> dict[str, Any]:
    """Train by the plan, then close the run: baselines, result, report."""
    ranks = built.parts.ranks
    t = plan.recipe.training
    if ranks.is_main:
        checkpoint.sweep(out)
        rehearse_saving(out, built.parts, built.identity, t.keep_last)
    budget = Budget(plan.budget_seconds, plan.closing_seconds, t.steps, fills=True) if plan.budget_seconds else None
    forecast = Forecast(steps=t.steps, prior=plan.prediction) if ranks.is_main and plan.prediction else None
    journal = Journal(out, enabled=ranks.is_main)
    with Progress(t.steps, t.batch_tokens, enabled=ranks.is_main, overhead_seconds=plan.closing_seconds) as progress:
        watch = RunWatch(recipe=plan.recipe, built=built, data=data, journal=journal, progress=progress,
                         budget=budget, forecast=forecast,
                         profile=profile_of(out, progress.say, ranks, t.device, steps=t.steps)
                         if profiled else None)
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


def figures(out: Path, state: TrainState, watch: RunWatch, built: Built) -> dict[str, Any]:
    """The contract's keys."""
    last = watch.last_evaluation
    return {"steps": state.step, "tokens": state.tokens, "seconds": round(state.seconds, 3),
            "tokens_per_second": round(state.tokens / max(state.seconds, 1e-9), 1), "train_loss": state.loss,
            "val_loss": last.loss if last else None, "val_bits_per_byte": last.bits_per_byte if last else None,
            "best_step": state.best_step, "peak_memory_bytes": peak_memory_bytes(built.precision.device),
            "process_seconds": round(process_seconds(), 3),
            "checkpoint": str((out / "last").resolve())}


def start(request: Request[PretrainRecipe], plan: Plan) -> None:
    """The run folder with its resolved recipe and its plan."""
    def fill(draft: Path) -> None:
        write_toml(draft / "config.toml", plan.recipe)
        write_json(draft / "plan.json", plan.to_json() | {"requested": asked(request.recipe, LEFT_OUT)})

    start_folder(request, fill)


def stored_plan(request: Request[PretrainRecipe]) -> Plan | None:
    """The plan of a run that can be continued; None when nothing is there yet. Raises CheckpointError."""
    out = request.out
    if not (out / "config.toml").is_file() or not checkpoint.steps(out):
        return None
    recipe = validate(ResolvedRecipe, read_toml(out / "config.toml"), where=str(out / "config.toml"))
    try:
        stored = json.loads((out / "plan.json").read_text("utf-8"))
    except (OSError, ValueError) as error:
        raise CheckpointError(f"{out / 'plan.json'} cannot be read ({error}); the run cannot be continued") from None
    refuse_other(out, stored["requested"], asked(request.recipe, LEFT_OUT), asked(PretrainRecipe(), LEFT_OUT))
    again = {key: value for key in REPEATABLE if (value := getattr(request.recipe.training, key)) is not None}
    return Plan.from_json(stored, recipe.with_training(**again))


def data_folder(request: Request[PretrainRecipe]) -> str:
    """The folder from --data, the recipe, or the run itself."""
    folder = request.recipe.data.folder
    if folder is None:
        raise ConfigError("no data: give --data DIR, a folder that 'tohum data prepare' wrote")
    return folder
