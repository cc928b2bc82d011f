"""One fine-tuning run: a stage's parts -> run folder, training by the one loop, the best weights back in memory."""

import contextlib
import json
import sys
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Generic, TypeVar

import torch
from torch import nn

from tohum.config import read_toml, validate, write_toml
from tohum.errors import CheckpointError
from tohum.files import sha256_json, write_json
from tohum.finetuning.config import FinetuneRecipe
from tohum.finetuning.forecast import described, forecast_bytes
from tohum.finetuning.resolve import settle_machine
from tohum.finetuning.trainable import Trainable
from tohum.finetuning.watch import Evaluate, Figures, FinetuneWatch, Sample, nothing
from tohum.kernels.memory import tune_memory
from tohum.machine import peak_memory_bytes, process_seconds, tune_products
from tohum.training import checkpoint
from tohum.training.budget import Budget
from tohum.training.checkpoint import Identity, ModelFiles
from tohum.training.journal import Journal
from tohum.training.loop import TrainPlan, train
from tohum.training.objective import Precision
from tohum.training.optimizer import Optimizer
from tohum.training.profile import profile_of
from tohum.training.progress import Progress
from tohum.training.ranks import Ranks
from tohum.training.run_folder import Request, asked, refuse_other, rehearse_saving, start_folder
from tohum.training.state import TrainState
from tohum.training.step import Batches, Objective, Parts
from tohum.training.stopping import StopRequested, StopRequests

Recipe = TypeVar("Recipe", bound=FinetuneRecipe)
REPEATABLE = ("max_hours", "keep_last", "patience")  # keys that a resume may give anew
NOT_THE_WEIGHTS = (*REPEATABLE, "report_every", "sample_every", "save_every", "file", "folder")
PACE_STEPS = 5
DTYPES = {"bf16": torch.bfloat16, "fp32": torch.float32, "fp64": torch.float64}


@dataclass(frozen=True, kw_only=True)
class Setup:
    """What a stage gives: everything that differs between the three."""

    network: nn.Module  # what is frozen and what is trained already decided
    trainable: Trainable
    batches: Batches
    objective: Objective
    files: ModelFiles
    precision: Precision
    fingerprint: str  # of the examples
    evaluate: Evaluate
    sample: Sample
    tokens_per_step: int  # for a person
    pass_tokens: int  # of the largest pass with a gradient, for the forecast of memory
    figures: Figures = nothing  # of a training step, for the journal
    evaluate_first: bool = True  # before the first step; a new class head knows nothing yet
    dropout: bool = True  # preference losses compare two passes, which must see the same network


@dataclass(frozen=True, kw_only=True)
class Done:
    """A run whose last step is done; the network holds the best weights."""

    state: TrainState
    figures: dict[str, Any]


def stored_recipe(request: Request[Recipe]) -> Recipe | None:
    """The recipe of a run that can be continued; None when there is none. Raises ConfigError, CheckpointError."""
    out = request.out
    if not request.resume or not (out / "config.toml").is_file() or not (
            checkpoint.steps(out) or (out / "result.json").is_file()):
        return None
    kind: type[Recipe] = type(request.recipe)
    try:
        stored = json.loads((out / "plan.json").read_text("utf-8"))["requested"]
    except (OSError, ValueError, KeyError) as error:
        raise CheckpointError(f"{out / 'plan.json'} cannot be read ({error}); the run cannot be continued") from None
    kept = {section: {key: stored[section][key]} for section, key in (("model", "folder"), ("data", "file"))
            if key in stored.get(section, {})}
    bare = kind.model_validate(kept)  # MODEL and --data must be given anew; no other option at all is enough
    refuse_other(out, stored, asked(request.recipe, REPEATABLE), asked(bare, REPEATABLE))
    recipe = validate(kind, read_toml(out / "config.toml"), where=str(out / "config.toml"))
    again = {key: value for key in REPEATABLE if (value := getattr(request.recipe.training, key)) is not None}
    return recipe.replace(training=recipe.training.model_dump() | again)


def start(request: Request[Recipe], recipe: Recipe, plan: Mapping[str, Any], ranks: Ranks) -> None:
    """The run folder with the resolved recipe, what was asked for, and what the data look like."""
    def fill(draft: Path) -> None:
        write_toml(draft / "config.toml", recipe)
        write_json(draft / "plan.json", dict(plan) | {"requested": asked(request.recipe, REPEATABLE)})

    if ranks.is_main:
        start_folder(request, fill)
    ranks.wait()


def run(out: Path, recipe: FinetuneRecipe, setup: Setup, ranks: Ranks, stop: StopRequests, *, base: str,
        profiled: bool = False) -> Done:
    """Train to the last step or the end of patience, then take the best weights. base: hash of the model underneath.

    Raises StoppedError (checkpoint saved), NonFiniteError, and what the file system refuses.
    """
    t = recipe.training
    setup.network.train(setup.dropout)
    optimizer = Optimizer(setup.network, recipe.optimizer.settled(), products=setup.precision.dtype)
    parts = Parts(network=setup.network, optimizer=optimizer, batches=setup.batches, objective=setup.objective,
                  ranks=ranks)
    expected = forecast_bytes(setup.network, setup.trainable, setup.precision, setup.pass_tokens)
    values = asked(recipe, NOT_THE_WEIGHTS)
    identity = Identity(files=setup.files, settings={"data fingerprint": setup.fingerprint, "base model": base,
                                                     "config": sha256_json(values)})
    if ranks.is_main:
        checkpoint.sweep(out)
        rehearse_saving(out, parts, identity, t.keep_last)
        print(setup.trainable.describe(), file=sys.stderr)
        floats = t.train is None and recipe.lora.base_format == "float32"
        print(described(expected, t.device or "cpu", bytes_would_help=floats), file=sys.stderr)
    journal = Journal(out, enabled=ranks.is_main)
    with Progress(loop_plan(recipe).steps, setup.tokens_per_step, enabled=ranks.is_main) as progress:
        watch = FinetuneWatch(journal=journal, progress=progress, evaluation=setup.evaluate, samples=setup.sample,
                              figures=setup.figures, report_every=t.report_every or 1, budget=budget_of(out, recipe),
                              profile=profile_of(out, progress.say, ranks, t.device, steps=loop_plan(recipe).steps)
                              if profiled else None)
        if setup.evaluate_first and not checkpoint.steps(out):
            with contextlib.suppress(StopRequested):  # what the model could do before; a stop is seen by the loop
                watch.evaluate(TrainState(), stop)
        state = train(out, loop_plan(recipe), parts, identity, watch, stop)
    best = (out / "best").resolve()
    setup.files.load(best, setup.network)
    figures = {"trainable_parameters": setup.trainable.trained, "parameters": setup.trainable.total,
               "steps": state.step, "tokens": state.tokens, "seconds": round(state.seconds, 3),
               "train_loss": state.loss, "val_loss": best_loss(state), "best_step": state.best_step,
               "peak_memory_bytes": peak_memory_bytes(setup.precision.device),
               "predicted_peak_memory_bytes": expected, "checkpoint": str(best)}
    return Done(state=state, figures=figures)


def best_loss(state: TrainState) -> float | None:
    """The lowest validation loss; None without validation rows, where the watch counts steps downwards instead."""
    return None if state.best_loss is None or state.best_loss < 0 else state.best_loss


def budget_of(out: Path, recipe: FinetuneRecipe) -> Budget | None:
    """What is left of training.budget for this start; work of starts before counts."""
    t = recipe.training
    if t.budget is None:
        return None
    saved = checkpoint.steps(out)
    before = checkpoint.read_state(out / "checkpoints" / f"step-{saved[-1]:08d}")["state"]["seconds"] if saved else 0.0
    return Budget(process_seconds() + t.budget - before, 0.0, t.steps or 1, after_steps=PACE_STEPS)


def loop_plan(recipe: FinetuneRecipe) -> TrainPlan:
    """The loop's numbers out of a resolved recipe."""
    t = recipe.training
    numbers = {name: getattr(t, name) for name in ("steps", "report_every", "eval_every", "save_every",
                                                   "sample_every")}
    assert None not in numbers.values(), "the recipe is not resolved"
    return TrainPlan(**numbers, schedule=recipe.schedule, seed=t.seed, clip_norm=t.clip_norm, keep_last=t.keep_last,
                     patience=t.patience)


@dataclass(frozen=True, kw_only=True)
class Begun(Generic[Recipe]):
    """A run whose machine is settled."""

    recipe: Recipe  # as asked for, or as stored; sizes of the data may still be missing
    stored: bool
    ranks: Ranks
    precision: Precision


def begin(request: Request[Recipe]) -> Begun[Recipe]:
    """The recipe, asked for or stored, on this machine. Raises ConfigError, CheckpointError."""
    tune_memory()
    tune_products()
    stored = stored_recipe(request)
    recipe = settle_machine(stored or request.recipe)
    t = recipe.training
    assert t.threads is not None
    torch.set_num_threads(t.threads)
    device = torch.device(t.device)
    return Begun(recipe=recipe, stored=stored is not None, ranks=Ranks.from_environment(device),
                 precision=Precision(dtype=DTYPES[t.dtype], device=device))
