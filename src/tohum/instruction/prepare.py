"""A file of conversations, a template and a tokenizer -> examples with their answers marked, and test questions."""

from dataclasses import dataclass
from pathlib import Path
from typing import Any

from tohum.documents.python_tasks import instruction_docs
from tohum.finetuning.asking import CANARIES, SIDES, Asking, encoder_for, example, fit_sides, question, share_out, tell
from tohum.finetuning.base import Opened
from tohum.finetuning.conversations import Conversation
from tohum.finetuning.examples import ExampleSet
from tohum.finetuning.stage import Say, needed
from tohum.instruction.config import InstructRecipe
from tohum.instruction.conversations import Instructions, read_conversations

EMBEDDED = "python-docs"


@dataclass(frozen=True, kw_only=True)
class Rows:
    """A file, read, shared out and encoded; see finetuning/stage.py, `Prepared`."""

    asking: Asking
    train: ExampleSet
    validation: ExampleSet
    test: ExampleSet

    def to_json(self) -> dict[str, Any]:
        """What the report shows of the data."""
        return self.asking.to_json()


def prepare(recipe: InstructRecipe, opened: Opened, say: Say) -> Rows:
    """Read, share out, encode; tells what was recognised, shows the first examples. Raises DataError, ConfigError."""
    d = recipe.data
    found = instructions(needed(d.file, "data"))
    say(found.described)
    encoder, max_length = encoder_for(d, opened, say, d.loss)
    parts = share_out(found.conversations, lambda row: row.messages, d.fractions, recipe.training.seed)
    kept, reports = fit_sides(parts, encoder.encode, max_length=max_length, overlong=d.overlong or "drop", say=say)
    tell(kept["train"], reports, encoder, say)
    asked = {side: [question(row.messages[:-1], row.messages[-1:], row.place) for row in parts[side]]
             for side in ("validation", "test")}
    asking = Asking(encoder=encoder, max_length=max_length, reports=reports, described=found.described,
                    ends=encoder.ending.ends | opened.loaded.ends,
                    canaries=asked["validation"][:CANARIES], questions=asked["test"][: d.answers])
    sets = {side: ExampleSet(example(encoded) for encoded in kept.get(side, [])) for side in SIDES}
    return Rows(asking=asking, **sets)


def instructions(path: Path) -> Instructions:
    """The conversations of a file, or of the embedded set."""
    if str(path) != EMBEDDED:
        return read_conversations(path)
    rows = [Conversation(({"role": "user", "content": asked}, {"role": "assistant", "content": told}),
                         f"{EMBEDDED}:{number}") for number, (asked, told) in enumerate(instruction_docs(), 1)]
    return Instructions(conversations=rows, form=EMBEDDED, described=(
        f"{EMBEDDED}: {len(rows):,} questions about the standard library of this Python, answered by its docstrings"))
