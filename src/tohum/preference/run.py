"""A preference run from end to end: recipe, model and preferences -> run folder -> margins and answers."""

import json
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

import torch

from tohum.errors import ConfigError
from tohum.files import write_json
from tohum.finetuning.asking import files_of
from tohum.finetuning.base import Opened
from tohum.finetuning.batches import Order
from tohum.finetuning.run import Setup
from tohum.finetuning.stage import Say, Stage, Work, finetune
from tohum.finetuning.trainable import freeze
from tohum.finetuning.trials import Trials
from tohum.finetuning.watch import Guard
from tohum.generation.mode import evaluating
from tohum.preference.batches import PairBatches, SingleBatches
from tohum.preference.config import WITH_REFERENCE, PreferRecipe
from tohum.preference.objective import PreferenceObjective
from tohum.preference.prepare import Pairs, Rows, Side, prepare
from tohum.seeding import generator
from tohum.training.run_folder import Request

SEEN_ROWS, BATCH_ROWS = 900, 8  # where the user says nothing
LR_SCALE = 1 / 6  # a preference is a small push; at the rate of other stages the answers fall apart
UNTRAINED = "untrained.json"  # what the objective says of the test pairs before the first step
FLAT = 1e-6  # a reward margin below is none

Here = Work[PreferRecipe, Rows]


def prefer(request: Request[PreferRecipe], say: Say) -> dict[str, Any]:
    """See finetuning/stage.py, `finetune`. Raises ConfigError for a method that cannot have its reference."""
    stage: Stage[PreferRecipe, Rows] = Stage(
        kind="prefer", seen_rows=SEEN_ROWS, batch_rows=BATCH_ROWS, lr_scale=LR_SCALE, prepare=checked_prepare,
        before=lambda work: trials(work).before(work.opened.loaded), build=build, after=after)
    return finetune(request, stage, say)


def checked_prepare(recipe: PreferRecipe, opened: Opened, say: Say) -> Rows:
    """What cannot work is refused before anything is read."""
    method = recipe.preference.method
    if method in WITH_REFERENCE and recipe.training.train is not None:
        raise ConfigError(f"--method {method} compares with the model before training, which only an adapter leaves as "
                          "it is\nuse --lora-rank in place of --train, or --method orpo or simpo")
    if recipe.lora.dropout:
        raise ConfigError(f"lora.dropout {recipe.lora.dropout}: preference losses compare two passes, which must see "
                          "the same network; set it to 0")
    return prepare(recipe, opened, say)


def build(work: Here) -> Setup:
    """What is frozen, batches, objective, form of the checkpoints."""
    t, p, rows = work.recipe.training, work.recipe.preference, work.rows
    ranks, precision = work.begun.ranks, work.begun.precision
    network = work.opened.network.to(precision.device, work.dtype)
    trainable = freeze(network, t.train, work.recipe.lora, generator(t.seed, "lora"),
                       work.opened.tokenizer)
    objective = PreferenceObjective(network, precision, method=p.method, beta=p.strength, gamma=p.gamma, ranks=ranks)
    side = rows.sides["train"]
    per_step = round(side.tokens / len(side) * work.batch_rows)
    setup = Setup(network=network, trainable=trainable, batches=batches(work, side, objective), precision=precision,
                  objective=objective, files=files_of(work.recipe, work.opened, rows.asking),
                  fingerprint=side.fingerprint, figures=objective.taken, dropout=False,
                  evaluate=lambda guard: measured(work, "validation", objective, guard),
                  sample=lambda: trials(work).canaries(work.opened.loaded),
                  tokens_per_step=per_step, pass_tokens=work.pass_tokens(side.longest, per_step))
    if not (work.out / UNTRAINED).is_file():
        found = measured(work, "test", objective, iter)  # by all processes: KTO's estimate is their common one
        if ranks.is_main:
            write_json(work.out / UNTRAINED, dict(found or {}))
    return setup


def batches(work: Here, side: Side, objective: PreferenceObjective) -> PairBatches | SingleBatches:
    """The batches of one side."""
    ranks = work.begun.ranks
    order = Order(len(side), key=f"{side.fingerprint}:{work.recipe.training.seed}", rows_per_step=work.batch_rows,
                  rank=ranks.rank, world_size=ranks.world_size)
    size = {"micro_tokens": work.micro_tokens, "context": work.opened.config.context}
    if isinstance(side, Pairs):
        return PairBatches(chosen=side.chosen, rejected=side.rejected, order=order, **size)
    return SingleBatches(answers=side.answers, desirable=side.desirable, mismatched=side.mismatched, order=order,
                         kl=objective.kl, **size)


@torch.no_grad()
def measured(work: Here, name: str, objective: PreferenceObjective, guard: Guard) -> Mapping[str, float] | None:
    """Loss, reward margin and accuracies over a side of the split; None without rows."""
    side = work.rows.sides.get(name)
    if side is None:
        return None
    source = batches(work, side, objective)
    alone = work.begun.ranks.world_size == 1  # KTO's estimate is a sum over all processes: none leaves before the end
    passes: Iterable[Any] = guard(source.in_order()) if alone else source.in_order()
    with evaluating(work.opened.network), objective.apart():
        total = sum(float(objective(batch)) for batch in passes)
        found = objective.taken()
    return {"loss": total / len(side)} | found


def after(work: Here, setup: Setup, checkpoint: Path) -> dict[str, Any]:
    """Pairs that were never seen, before and after; answers to their prompts; the card."""
    objective = setup.objective
    assert isinstance(objective, PreferenceObjective)
    found = dict(measured(work, "test", objective, iter) or {})
    before = json.loads((work.out / UNTRAINED).read_text("utf-8"))
    if found and abs(found["margin"]) < FLAT:
        work.say("warning: the reward margin on the test pairs is still 0: nothing was learned; "
                 "raise optimizer.lr, or train longer")
    return found | {"before": before} | trials(work).after(work.opened.loaded, checkpoint)


def trials(work: Here) -> Trials:
    """What base and tuned model go through."""
    return Trials(out=work.out, asking=work.rows.asking, tokens=work.recipe.data.answer_tokens, say=work.say,
                  is_main=work.begun.ranks.is_main)
