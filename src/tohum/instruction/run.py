"""An instruction run from end to end: recipe, model and conversations -> run folder -> answers before and after."""

from collections.abc import Callable, Iterator, Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import torch

from tohum.evaluation.perplexity import evaluate
from tohum.evaluation.respond import respond
from tohum.finetuning.adapter_folder import AdapterFiles, Base
from tohum.finetuning.base import Opened, open_base
from tohum.finetuning.batches import ExampleBatches, Order, in_order
from tohum.finetuning.examples import ExampleSet
from tohum.finetuning.resolve import Sizes, resolve
from tohum.finetuning.run import Begun, Setup, begin, close, needed, run, start
from tohum.finetuning.trainable import freeze
from tohum.finetuning.watch import Guard
from tohum.instruction.card import Trials
from tohum.instruction.config import InstructRecipe
from tohum.instruction.prepare import Rows, asked, prepare
from tohum.seeding import generator
from tohum.training.checkpoint import ModelFiles, WholeModel
from tohum.training.objective import language_objective
from tohum.training.run_folder import Request, finished_result, hours_to_seconds
from tohum.training.stopping import StopRequests

DEFAULT_EPOCHS, DEFAULT_BATCH_ROWS = 2, 8
CANARY_TOKENS = 64


def instruct(request: Request[InstructRecipe], say: Callable[[str], None]) -> dict[str, Any]:
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
        sizes = Sizes(rows=len(rows.train), epochs=DEFAULT_EPOCHS, batch_rows=DEFAULT_BATCH_ROWS)
        begun = replace(begun, recipe=resolve(begun.recipe, sizes, begun.ranks.world_size))
        start(request, begun.recipe, {"kind": "instruct", "data": rows.to_json()}, begun.ranks)
    opened.keep()
    trials = Trials(out=out, rows=rows, tokens=begun.recipe.data.answer_tokens, say=say)
    trials.before(opened.loaded)
    with StopRequests(hours_to_seconds(begun.recipe.training.max_hours)) as stop:
        setup = build(begun, opened, rows)
        done = run(out, begun.recipe, setup, begun.ranks, stop)
    test = {"loss": (validate(begun, opened, rows.test, iter) or {}).get("loss")}
    test |= trials.after(opened.loaded, Path(done.figures["checkpoint"]))
    result = done.figures | {"test": test, "data": rows.to_json()}
    return close(out, result, done.state) if begun.ranks.is_main else result


def build(begun: Begun[InstructRecipe], opened: Opened, rows: Rows) -> Setup:
    """What is frozen, batches, objective, form of the checkpoints."""
    recipe, t = begun.recipe, begun.recipe.training
    assert t.micro_tokens, "the recipe is not resolved"
    assert t.batch_rows, "the recipe is not resolved"
    dtype = torch.float64 if t.dtype == "fp64" else torch.float32
    network = opened.network.to(begun.precision.device, dtype)
    trainable = freeze(network, t.train, recipe.lora, generator(t.seed, "lora"))
    order = Order(len(rows.train), key=f"{rows.train.fingerprint}:{t.seed}", rows_per_step=t.batch_rows,
                  rank=begun.ranks.rank, world_size=begun.ranks.world_size)
    batches = ExampleBatches(examples=rows.train, order=order, packing=recipe.data.packing,
                             micro_tokens=t.micro_tokens)
    return Setup(network=network, trainable=trainable, batches=batches, precision=begun.precision,
                 objective=language_objective(network, begun.precision, compiled=bool(t.compile)),
                 files=files_of(begun.recipe, opened, rows), fingerprint=rows.train.fingerprint,
                 evaluate=lambda guard: validate(begun, opened, rows.validation, guard),
                 sample=lambda: canaries(opened, rows),
                 tokens_per_step=round(rows.train.tokens / len(rows.train) * t.batch_rows))


def files_of(recipe: InstructRecipe, opened: Opened, rows: Rows) -> ModelFiles:
    """An adapter, or the whole model, with the template that it was trained by."""
    if recipe.training.train is None:
        return AdapterFiles(base=Base.of(opened.folder), lora=recipe.lora.settled(), tokenizer=opened.tokenizer,
                            template=rows.template, stop_ids=rows.stop_ids)
    return WholeModel(config=opened.config, tokenizer=opened.tokenizer, template=rows.template,
                      stop_ids=rows.stop_ids)


def validate(begun: Begun[InstructRecipe], opened: Opened, examples: ExampleSet,
             guard: Guard) -> Mapping[str, float] | None:
    """Loss and perplexity of the learned tokens; None without rows."""
    if not len(examples):
        return None
    micro_tokens = begun.recipe.training.micro_tokens or 1
    found = evaluate(opened.network, guard(in_order(examples, micro_tokens=micro_tokens)),
                     opened.tokenizer.byte_lengths, dtype=begun.precision.dtype, device=begun.precision.device)
    return {"loss": found.loss, "perplexity": found.perplexity}


def canaries(opened: Opened, rows: Rows) -> Iterator[dict[str, Any]]:
    """The same questions after every part of the run: the best token each time."""
    answers = respond(opened.loaded, [row.prompt for row in rows.canaries], manner=rows.manner,
                      max_tokens=CANARY_TOKENS)
    for row, answer in zip(rows.canaries, answers, strict=True):
        yield {"prompt": asked(row), "expected": row.expected, "text": answer.text,
               "finish_reason": answer.finish_reason}
