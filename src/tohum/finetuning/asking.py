"""What stages that teach answers share: a template and its end of turn, questions for the test, a fair split."""

import sys
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any, TypeVar

from tohum.errors import ConfigError, DataError
from tohum.evaluation.answer_file import AnswerRow
from tohum.evaluation.respond import Manner
from tohum.finetuning.adapter_folder import AdapterFiles, Base
from tohum.finetuning.base import Opened
from tohum.finetuning.config import AskingSection, FinetuneRecipe
from tohum.finetuning.conversations import Messages
from tohum.finetuning.encode import Encoded, Encoder, Loss, encode_rows
from tohum.finetuning.examples import Example
from tohum.finetuning.fit import F, NothingLeftError, Overlong, Report, fit
from tohum.finetuning.preview import has_colour, preview
from tohum.seeding import derive
from tohum.tokenizing.ends import Ends
from tohum.tokenizing.styles import choose_template
from tohum.tokenizing.template import ChatTemplate
from tohum.training.checkpoint import ModelFiles, WholeModel

Row = TypeVar("Row")
Say = Callable[[str], None]
DEFAULT_STYLE = "alpaca"
SIDES = ("train", "validation", "test")
SHOWN = 2  # examples that a person sees before step 0
CANARIES = 3  # validation questions that are answered again and again


@dataclass(frozen=True, kw_only=True)
class Asking:
    """How the model is asked and taught, and what it is asked before and after."""

    encoder: Encoder
    max_length: int
    ends: Ends
    canaries: list[AnswerRow]  # of validation
    questions: list[AnswerRow]  # of test
    reports: Mapping[str, Report]  # by side
    described: str

    @property
    def manner(self) -> Manner:
        """The same for base and tuned model."""
        return Manner(template=self.encoder.template, ends=self.ends,
                      tokenizer_sha256=self.encoder.tokenizer.sha256)

    def to_json(self) -> dict[str, Any]:
        """What the report shows of the data."""
        return {"described": self.described, "template_sha256": self.encoder.template.sha256,
                "end_of_turn": self.encoder.ending.text, "max_length": self.max_length,
                "sides": {name: asdict(report) for name, report in self.reports.items()}}


def encoder_for(data: AskingSection, opened: Opened, say: Say, loss: Loss = "answers") -> tuple[Encoder, int]:
    """The encoder and the longest example. Raises ConfigError."""
    max_length = data.max_length or opened.config.context
    if max_length > opened.config.context:
        raise ConfigError(f"data.max_length {max_length:,}: the model's context is {opened.config.context:,} tokens")
    return Encoder(template=template_of(data.template, opened, say), tokenizer=opened.tokenizer, loss=loss), max_length


def template_of(name: str | None, opened: Opened, say: Say) -> ChatTemplate:
    """As asked for, else the model's own, else the default style."""
    if name is not None:
        return choose_template(name, opened.tokenizer)
    if opened.template is not None:
        return opened.template
    say(f"the model has no chat template; taking the style '{DEFAULT_STYLE}' (--template chooses another)")
    return choose_template(DEFAULT_STYLE, opened.tokenizer)


def share_out(rows: Sequence[Row], prompt: Callable[[Row], Messages], fractions: tuple[float, float, float],
              seed: int) -> dict[str, list[Row]]:
    """Rows by side. Those with the same question stay together, and files with the same questions are cut alike.

    Validation and test get a question each at least where there are three; with fewer, train has them all.
    """
    if min(fractions) < 0 or abs(sum(fractions) - 1) > 1e-6 or fractions[0] <= 0:
        raise ConfigError(f"data.fractions {fractions}: expected three shares that add up to 1, the first above 0")
    groups: dict[str, list[Row]] = {}
    for row in rows:
        asked = " ".join(str(message["content"]) for message in prompt(row) if message["role"] == "user")
        groups.setdefault(" ".join(asked.split()).casefold(), []).append(row)
    names = sorted(groups, key=lambda name: derive(seed, f"share out:{name}"))
    counts = [0 if fraction == 0 or len(names) < 3 else max(1, round(fraction * len(names)))
              for fraction in fractions[1:]]
    if len(names) <= sum(counts):
        raise DataError(f"{len(names):,} different questions leave none to train on; "
                        "lower data.fractions of validation and test")
    test = counts[0] + counts[1]
    parts = {"validation": names[: counts[0]], "test": names[counts[0] : test], "train": names[test:]}
    return {side: [row for name in parts[side] for row in groups[name]] for side in SIDES}


def fit_sides(parts: Mapping[str, Sequence[Row]], encode: Callable[[Row], list[F]], *, max_length: int,
              overlong: Overlong, say: Say) -> tuple[dict[str, list[F]], dict[str, Report]]:
    """What fits of each side, and its report; validation and test may be left with nothing. Raises DataError."""
    kept: dict[str, list[F]] = {}
    reports: dict[str, Report] = {}
    for side, rows in parts.items():
        try:
            kept[side], reports[side] = fit(encode_rows(rows, encode), max_length=max_length, overlong=overlong)
        except NothingLeftError as error:
            if side == "train":
                raise
            if rows:
                say(f"note: the run goes without {side} rows: {str(error).splitlines()[0]}")
    return kept, reports


def example(encoded: Encoded) -> Example:
    """Shifted by one."""
    ids, targets = encoded.shifted()
    return Example(ids=ids, targets=targets)


def question(prompt: Messages, answer: Messages, place: str) -> AnswerRow:
    """A prompt and the answer that is expected."""
    return AnswerRow(prompt=[dict(message) for message in prompt], expected=str(answer[-1]["content"]), place=place)


def tell(train: Sequence[Encoded], reports: Mapping[str, Report], encoder: Encoder, say: Say) -> None:
    """Sizes, what was left out and why, and the first examples with what is learned marked."""
    for name, report in reports.items():
        for line in report.lines() if name == "train" else report.lines()[:1]:
            say(f"{name}: {line}")
    say("\n" + preview(train[:SHOWN], encoder.tokenizer, colour=has_colour(sys.stderr)) + "\n")


def files_of(recipe: FinetuneRecipe, opened: Opened, asking: Asking) -> ModelFiles:
    """The form of the checkpoints: an adapter, or the whole model, with the template that it was trained by."""
    template = asking.encoder.template
    if recipe.training.train is None:
        return AdapterFiles(base=Base.of(opened.folder), lora=recipe.lora.settled(), tokenizer=opened.tokenizer,
                            template=template, ends=asking.ends)
    return WholeModel(config=opened.config, tokenizer=opened.tokenizer, template=template, ends=asking.ends)
