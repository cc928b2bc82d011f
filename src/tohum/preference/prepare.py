"""A file of preferences, a template and a tokenizer -> aligned answers with their prompts, and test questions."""

import hashlib
from collections.abc import Iterator, Sequence, Sized
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from tohum.errors import ConfigError
from tohum.evaluation.answer_file import AnswerRow
from tohum.finetuning.asking import CANARIES, Asking, encoder_for, example, fit_sides, question, share_out, tell
from tohum.finetuning.base import Opened
from tohum.finetuning.encode import Encoded, Encoder
from tohum.finetuning.examples import ExampleSet
from tohum.finetuning.stage import Say, needed
from tohum.preference.config import PreferRecipe
from tohum.preference.encode import EncodedPair, EncodedUnpaired, encode_pair, encode_unpaired
from tohum.preference.pairs import Pair, Preferences, Unpaired, as_unpaired, read_preferences

Rowed = Pair | Unpaired


@dataclass(frozen=True, kw_only=True)
class Pairs:
    """One side of the split: row n of both sets answers the same prompt."""

    chosen: ExampleSet
    rejected: ExampleSet

    def __len__(self) -> int:
        return len(self.chosen)

    @property
    def fingerprint(self) -> str:
        return self.chosen.fingerprint[:32] + self.rejected.fingerprint[:32]

    @property
    def tokens(self) -> int:
        return self.chosen.tokens + self.rejected.tokens

    @property
    def longest(self) -> int:
        """Tokens of both answers to a prompt."""
        return int((self.chosen.lengths + self.rejected.lengths).max(initial=0))


@dataclass(frozen=True, kw_only=True)
class Singles:
    """One side of the split for KTO: answers that are wanted or not."""

    answers: ExampleSet
    desirable: NDArray[np.bool_]
    mismatched: ExampleSet  # the answer of row n after the prompt of another row

    def __len__(self) -> int:
        return len(self.answers)

    @property
    def fingerprint(self) -> str:
        marks = hashlib.sha256(self.desirable.tobytes()).hexdigest()
        return self.answers.fingerprint[:24] + self.mismatched.fingerprint[:24] + marks[:16]

    @property
    def tokens(self) -> int:
        return self.answers.tokens + self.mismatched.tokens

    @property
    def longest(self) -> int:
        """Tokens of an answer with its prompt."""
        return self.answers.longest


Side = Pairs | Singles


@dataclass(frozen=True, kw_only=True)
class Rows:
    """A file, read, shared out and encoded; see finetuning/stage.py, `Prepared`."""

    asking: Asking
    sides: dict[str, Side]

    @property
    def train(self) -> Sized:
        return self.sides["train"]

    def to_json(self) -> dict[str, Any]:
        """What the report shows of the data."""
        return self.asking.to_json()


def prepare(recipe: PreferRecipe, opened: Opened, say: Say) -> Rows:
    """Read, share out, encode; shows the first examples. Raises DataError, ConfigError."""
    d = recipe.data
    found = read_preferences(needed(d.file, "data"))
    say(found.described)
    encoder, max_length = encoder_for(d, opened, say)
    rows = rows_for(recipe, found)
    parts = share_out(rows, lambda row: row.prompt, d.fractions, recipe.training.seed)
    kept, reports = fit_sides(parts, lambda row: encoded(row, encoder), max_length=max_length,
                              overlong=d.overlong or "drop", say=say)
    sides = {name: side_of(rows, max_length) for name, rows in kept.items()}
    tell([text for row in kept["train"][:1] for text in row.texts], reports, encoder, say)
    questions = {name: [asked(row) for row in parts[name] if isinstance(row, Pair) or row.desirable]
                 for name in ("validation", "test")}
    asking = Asking(encoder=encoder, max_length=max_length, reports=reports, described=found.described,
                    ends=encoder.ending.ends | opened.loaded.ends,
                    canaries=questions["validation"][:CANARIES], questions=questions["test"][: d.answers])
    return Rows(asking=asking, sides=sides)


def rows_for(recipe: PreferRecipe, found: Preferences) -> Sequence[Rowed]:
    """Pairs; for KTO single answers, made of pairs where the file has those. Raises ConfigError."""
    if recipe.preference.method == "kto":
        return found.unpaired or as_unpaired(found.pairs)
    if not found.pairs:
        raise ConfigError(f"--method {recipe.preference.method} compares two answers to one prompt, but the file holds "
                          "single answers with labels\nuse --method kto, or a file with chosen and rejected")
    return found.pairs


def encoded(row: Rowed, encoder: Encoder) -> list[EncodedPair | EncodedUnpaired]:
    """By the one encoder."""
    return [*(encode_pair(row, encoder) if isinstance(row, Pair) else encode_unpaired(row, encoder))]


def asked(row: Rowed) -> AnswerRow:
    """The prompt, and the chosen or wanted answer as the expected one."""
    return question(row.prompt, row.chosen if isinstance(row, Pair) else row.completion, row.place)


def side_of(kept: Sequence[EncodedPair | EncodedUnpaired], max_length: int) -> Side:
    """Encoded rows -> sets."""
    singles = [row for row in kept if isinstance(row, EncodedUnpaired)]
    if not singles:
        pairs = [row for row in kept if isinstance(row, EncodedPair)]
        return Pairs(chosen=ExampleSet(example(row.chosen) for row in pairs),
                     rejected=ExampleSet(example(row.rejected) for row in pairs))
    return Singles(answers=ExampleSet(example(row.text) for row in singles),
                   desirable=np.array([row.desirable for row in singles]),
                   mismatched=ExampleSet(example(text.cut(max_length)) for text in strangers(singles)))


def strangers(singles: Sequence[EncodedUnpaired]) -> Iterator[Encoded]:
    """Each answer after the nearest prompt before it (around the end) that is not its own: a pair has its prompt twice.

    Its own, where there is no other.
    """
    heads = [row.text.learned.index(True) for row in singles]  # a row without an answer was dropped
    prompts = [row.text.ids[:head] for row, head in zip(singles, heads, strict=True)]
    for number, (row, tail) in enumerate(zip(singles, heads, strict=True)):
        before = (prompts[number - back] for back in range(1, len(prompts)))
        prompt = next((other for other in before if other != prompts[number]), prompts[number])
        yield Encoded(ids=prompt + row.text.ids[tail:], place=row.place,
                      learned=[False] * len(prompt) + row.text.learned[tail:])
