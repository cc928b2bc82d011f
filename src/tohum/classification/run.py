"""A classification run from end to end: recipe, model and labelled file -> run folder -> the figures of its test."""

import shutil
from collections.abc import Callable
from dataclasses import replace
from typing import Any

import torch

from tohum.classification.build import CACHE, build
from tohum.classification.config import ClassifyRecipe
from tohum.classification.prepare import prepare
from tohum.classification.testing import tested
from tohum.finetuning.base import open_base
from tohum.finetuning.resolve import Sizes, resolve
from tohum.finetuning.run import begin, close, needed, run, start
from tohum.training.run_folder import Request, finished_result, hours_to_seconds
from tohum.training.stopping import StopRequests

DEFAULT_EPOCHS, DEFAULT_BATCH_ROWS = 2, 16
CONTRACT = ("accuracy", "macro_f1", "per_class", "majority_baseline")  # also at the top of the `--json` object


def classify(request: Request[ClassifyRecipe], say: Callable[[str], None]) -> dict[str, Any]:
    """Train, or continue, or repeat the result of a finished run. Returns the `--json` object.

    Raises TohumError for everything that a user can mend; StoppedError when stopped with a checkpoint saved.
    """
    out = request.out.absolute()
    begun = begin(request)
    if begun.stored and (finished := finished_result(out)):
        return finished
    opened = open_base(needed(begun.recipe.model.folder, "model"), out, dtype=torch.float32,
                       device=begun.precision.device)
    if opened.note:
        say(opened.note)
    rows = prepare(begun.recipe, opened, say)
    if not begun.stored:
        sizes = Sizes(rows=len(rows.train.rows), epochs=DEFAULT_EPOCHS, batch_rows=DEFAULT_BATCH_ROWS)
        begun = replace(begun, recipe=resolve(begun.recipe, sizes, begun.ranks.world_size))
        start(request, begun.recipe, {"kind": "classify", "data": rows.to_json()}, begun.ranks)
    opened.keep()
    with StopRequests(hours_to_seconds(begun.recipe.training.max_hours)) as stop:
        built = build(out, begun, opened, rows, say)
        done = run(out, begun.recipe, built.setup, begun.ranks, stop)
    test = tested(built, rows)
    shutil.rmtree(out / CACHE, ignore_errors=True)
    result = done.figures | {name: test[name] for name in CONTRACT} | {
        "test": test, "labels": list(rows.labels), "data": rows.to_json()}
    return close(out, result, done.state) if begun.ranks.is_main else result
