"""An instruction run from end to end: recipe, model and conversations -> run folder -> answers before and after."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from tohum.evaluation.perplexity import evaluate
from tohum.finetuning.asking import files_of
from tohum.finetuning.batches import ExampleBatches, Order, in_order
from tohum.finetuning.examples import ExampleSet
from tohum.finetuning.run import Setup
from tohum.finetuning.stage import Say, Stage, Work, finetune
from tohum.finetuning.trainable import freeze
from tohum.finetuning.trials import Trials
from tohum.finetuning.watch import Guard
from tohum.instruction.config import InstructRecipe
from tohum.instruction.prepare import Rows, prepare
from tohum.seeding import generator
from tohum.training.objective import language_objective
from tohum.training.run_folder import Request

SEEN_ROWS, BATCH_ROWS = 1800, 8  # where the user says nothing

Here = Work[InstructRecipe, Rows]


def instruct(request: Request[InstructRecipe], say: Say) -> dict[str, Any]:
    """See finetuning/stage.py, `finetune`."""
    stage: Stage[InstructRecipe, Rows] = Stage(
        kind="instruct", seen_rows=SEEN_ROWS, batch_rows=BATCH_ROWS, prepare=prepare,
        before=lambda work: trials(work).before(work.opened.loaded), build=build, after=after)
    return finetune(request, stage, say)


def build(work: Here) -> Setup:
    """What is frozen, batches, objective, form of the checkpoints."""
    t, rows, ranks, precision = work.recipe.training, work.rows, work.begun.ranks, work.begun.precision
    network = work.opened.network.to(precision.device, work.dtype)
    trainable = freeze(network, t.train, work.recipe.lora, generator(t.seed, "lora"),
                       work.opened.tokenizer)
    order = Order(len(rows.train), key=f"{rows.train.fingerprint}:{t.seed}", rows_per_step=work.batch_rows,
                  rank=ranks.rank, world_size=ranks.world_size)
    batches = ExampleBatches(examples=rows.train, order=order, packing=work.recipe.data.packing,
                             micro_tokens=work.micro_tokens, context=work.opened.config.context)
    per_step = round(rows.train.tokens / len(rows.train) * work.batch_rows)
    return Setup(network=network, trainable=trainable, batches=batches, precision=precision,
                 objective=language_objective(network, precision, compiled=bool(t.compile)),
                 files=files_of(work.recipe, work.opened, rows.asking), fingerprint=rows.train.fingerprint,
                 evaluate=lambda guard: validate(work, rows.validation, guard),
                 sample=lambda: trials(work).canaries(work.opened.loaded),
                 tokens_per_step=per_step, pass_tokens=work.pass_tokens(rows.train.longest, per_step))


def after(work: Here, _: Setup, checkpoint: Path) -> dict[str, Any]:
    """Loss on rows that were never seen, answers to their questions, and the card."""
    found = validate(work, work.rows.test, iter) or {}
    return {"loss": found.get("loss")} | trials(work).after(work.opened.loaded, checkpoint)


def validate(work: Here, examples: ExampleSet, guard: Guard) -> Mapping[str, float] | None:
    """Loss and perplexity of the learned tokens; None without rows."""
    if not len(examples):
        return None
    found = evaluate(work.opened.network, guard(in_order(examples, micro_tokens=work.micro_tokens)),
                     work.opened.tokenizer.byte_lengths, dtype=work.begun.precision.dtype,
                     device=work.begun.precision.device)
    return {"loss": found.loss, "perplexity": found.perplexity}


def trials(work: Here) -> Trials:
    """What base and tuned model go through."""
    return Trials(out=work.out, asking=work.rows.asking, tokens=work.recipe.data.answer_tokens, say=work.say,
                  is_main=work.begun.ranks.is_main)
