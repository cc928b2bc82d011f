"""A classification run from end to end: recipe, model and labelled file -> run folder -> the figures of its test."""

from typing import Any

from tohum.classification.build import ClassSetup, build
from tohum.classification.config import ClassifyRecipe
from tohum.classification.prepare import Rows, prepare
from tohum.classification.testing import tested
from tohum.finetuning.stage import CLASSES, Say, Stage, finetune
from tohum.training.run_folder import Request

SEEN_ROWS, BATCH_ROWS = 2000, 16  # where the user says nothing
LORA_LR_SCALE = 2.0  # a hundred steps with a new head want larger ones (docs/log.md)
CONTRACT = ("accuracy", "macro_f1", "per_class", "majority_baseline")  # also at the top of the `--json` object


def classify(request: Request[ClassifyRecipe], say: Say) -> dict[str, Any]:
    """See finetuning/stage.py, `finetune`."""
    stage: Stage[ClassifyRecipe, Rows] = Stage(
        kind=CLASSES, seen_rows=SEEN_ROWS, batch_rows=BATCH_ROWS, prepare=prepare,
        lr_scale=LORA_LR_SCALE if request.recipe.training.train is None else 1.0,
        before=lambda work: None, build=build, after=after)
    result = finetune(request, stage, say)
    return result | {name: result["test"][name] for name in CONTRACT}


def after(work: Any, setup: Any, _: Any) -> dict[str, Any]:
    """The test."""
    assert isinstance(setup, ClassSetup)
    return tested(setup, work.rows)
