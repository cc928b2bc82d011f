"""A file of conversations, a template and a tokenizer -> examples with their answers marked, and test questions."""

import sys
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np

from tohum.data_sampling.order import Permutation
from tohum.documents.python_tasks import instruction_docs
from tohum.errors import ConfigError, DataError
from tohum.evaluation.answer_file import AnswerRow
from tohum.evaluation.respond import Manner
from tohum.finetuning.base import Opened
from tohum.finetuning.conversations import Conversation
from tohum.finetuning.encode import Encoded, Encoder, encode_rows
from tohum.finetuning.examples import Example, ExampleSet
from tohum.finetuning.fit import Report, fit
from tohum.finetuning.preview import has_colour, preview
from tohum.finetuning.run import needed
from tohum.instruction.config import InstructRecipe
from tohum.instruction.conversations import Instructions, read_conversations
from tohum.tokenizing.styles import choose_template
from tohum.tokenizing.template import ChatTemplate

Say = Callable[[str], None]
EMBEDDED = "python-docs"
DEFAULT_STYLE = "alpaca"
SHOWN = 2  # examples that a person sees before step 0


@dataclass(frozen=True, kw_only=True)
class Rows:
    """A file, read, shared out and encoded."""

    encoder: Encoder
    stop_ids: frozenset[int]
    train: ExampleSet
    validation: ExampleSet
    test: ExampleSet
    canaries: list[AnswerRow]  # of validation
    questions: list[AnswerRow]  # of test
    reports: dict[str, Report]  # by side
    described: str

    @property
    def template(self) -> ChatTemplate:
        return self.encoder.template

    @property
    def manner(self) -> Manner:
        """How the model is asked, before and after."""
        return Manner(template=self.template, stop_ids=self.stop_ids,
                      tokenizer_sha256=self.encoder.tokenizer.sha256)

    def to_json(self) -> dict[str, Any]:
        """What the report shows of the data."""
        return {"described": self.described, "template_sha256": self.template.sha256,
                "end_of_turn": self.encoder.ending.text,
                "sides": {name: asdict(report) for name, report in self.reports.items()}}


def prepare(recipe: InstructRecipe, opened: Opened, say: Say) -> Rows:
    """Read, share out, encode; tells what was recognised, shows the first examples. Raises DataError, ConfigError."""
    d = recipe.data
    found = instructions(needed(d.file, "data"))
    say(found.described)
    template = template_of(recipe, opened, say)
    encoder = Encoder(template=template, tokenizer=opened.tokenizer, loss=d.loss)
    max_length = d.max_length or opened.config.context
    if max_length > opened.config.context:
        raise ConfigError(f"data.max_length {max_length:,}: the model's context is {opened.config.context:,} tokens")
    parts = share_out(found.conversations, d.fractions, recipe.training.seed)
    kept: dict[str, list[Encoded]] = {}
    reports: dict[str, Report] = {}
    for name, rows in parts.items():
        if rows:
            kept[name], reports[name] = fit(encode_rows(rows, encoder.encode), max_length=max_length,
                                            overlong=d.overlong or "drop")
    tell(kept["train"], reports, encoder, say)
    sets = {name: ExampleSet(example(encoded) for encoded in kept.get(name, ())) for name in parts}
    return Rows(encoder=encoder, stop_ids=encoder.ending.stop_ids | opened.loaded.stop_ids, **sets,
                canaries=[question(row) for row in parts["validation"][:3]],
                questions=[question(row) for row in parts["test"][: d.answers]], reports=reports,
                described=found.described)


def instructions(path: Path) -> Instructions:
    """The conversations of a file, or of the embedded set."""
    if str(path) != EMBEDDED:
        return read_conversations(path)
    rows = [Conversation(({"role": "user", "content": asked}, {"role": "assistant", "content": told}),
                         f"{EMBEDDED}:{number}") for number, (asked, told) in enumerate(instruction_docs(), 1)]
    return Instructions(conversations=rows, form=EMBEDDED, described=(
        f"{EMBEDDED}: {len(rows):,} questions about the standard library of this Python, answered by its docstrings"))


def template_of(recipe: InstructRecipe, opened: Opened, say: Say) -> ChatTemplate:
    """As asked for, else the model's own, else the default style."""
    if recipe.data.template is not None:
        return choose_template(recipe.data.template, opened.tokenizer)
    if opened.template is not None:
        return opened.template
    say(f"the model has no chat template; taking the style '{DEFAULT_STYLE}' (--template chooses another)")
    return choose_template(DEFAULT_STYLE, opened.tokenizer)


def share_out(rows: Sequence[Conversation], fractions: tuple[float, float, float],
              seed: int) -> dict[str, list[Conversation]]:
    """Train, validation and test by a keyed order; conversations with the same first question stay together.

    Validation and test get at least a row each where there are three; with fewer, train has them all.
    """
    if min(fractions) < 0 or abs(sum(fractions) - 1) > 1e-6 or fractions[0] <= 0:
        raise ConfigError(f"data.fractions {fractions}: expected three shares that add up to 1, the first above 0")
    groups: dict[str, list[Conversation]] = {}
    for row in rows:
        asked = next((str(message["content"]) for message in row.messages if message["role"] == "user"), "")
        groups.setdefault(" ".join(asked.split()).casefold(), []).append(row)
    names = list(groups)
    order = Permutation(len(names), f"share out:{seed}").at(np.arange(len(names)))
    counts = [0 if fraction == 0 or len(names) < 3 else max(1, round(fraction * len(names)))
              for fraction in fractions[1:]]
    ends = np.cumsum([0, counts[0], counts[1], len(names) - sum(counts)])
    if ends[-1] - ends[-2] < 1:
        raise DataError(f"{len(names):,} different questions leave none to train on; "
                        "lower data.fractions of validation and test")
    sides = {name: [row for number in order[ends[at] : ends[at + 1]] for row in groups[names[number]]]
             for at, name in enumerate(("validation", "test", "train"))}
    return {name: sides[name] for name in ("train", "validation", "test")}


def example(encoded: Encoded) -> Example:
    """Shifted by one."""
    ids, targets = encoded.shifted()
    return Example(ids=ids, targets=targets)


def question(row: Conversation) -> AnswerRow:
    """All but the last answer, which is the expected one."""
    return AnswerRow(prompt=[dict(message) for message in row.messages[:-1]],
                     expected=str(row.messages[-1]["content"]), place=row.place)


def asked(row: AnswerRow) -> str:
    """The last question, for people."""
    return row.prompt if isinstance(row.prompt, str) else str(row.prompt[-1]["content"])


def tell(train: Sequence[Encoded], reports: dict[str, Report], encoder: Encoder, say: Say) -> None:
    """Sizes, what was left out and why, and the first examples with what is learned marked."""
    for name, report in reports.items():
        for line in report.lines() if name == "train" else report.lines()[:1]:
            say(f"{name}: {line}")
    say("\n" + preview(train[:SHOWN], encoder.tokenizer, colour=has_colour(sys.stderr)) + "\n")
