"""Before/after card: what a base and a tuned model answered, and what a general text costs them -> verdicts.

    gain             mean of the tuned model's scores less the base's, with the 95 % interval of the paired difference
    forgetting       bits per byte on a text that has nothing to do with the tuning rose by more than 2 %, and by more
                     than chance (the interval of the rise, by the bootstrap over its blocks, is above 0)
    nothing changed  equal weights, or equal cost of every block of the general text, or > 95 % equal answers

Why 2 %: the loss of language models falls as (parameters)^-0.076 (arXiv:2001.08361), so 2 % more is what a model with
a quarter fewer parameters would need. Rounding weights to eight bits costs about a tenth of that.
Why 95 %: a fine-tune that leaves 19 answers of 20 as they were has, to the person who wanted another model, not worked.
"""

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any, Literal

import numpy as np

from tohum.errors import DataError
from tohum.evaluation.answer_file import AnswerRow
from tohum.evaluation.answers import AnswerScores, score_answer
from tohum.evaluation.bootstrap import Estimate, paired_difference, ratio_change
from tohum.evaluation.perplexity import Cost, Evaluation, total

TOLERATED_RISE = 0.02
IDENTICAL_ENOUGH = 0.95
METRICS = ("exact_match", "token_f1", "chrf")
EXAMPLES = 3

Verdict = Literal["better", "worse", "no clear change"]


@dataclass(frozen=True, kw_only=True)
class Side:
    """What one model did. Answers are texts or labels, one for each question."""

    name: str
    model_sha256: str
    answers: Sequence[str] = ()
    general: Sequence[Cost] = ()  # the general text, block by block; none for a model that does not predict text


@dataclass(frozen=True, kw_only=True)
class Gain:
    """One score before and after."""

    before: float
    after: float
    difference: Estimate
    verdict: Verdict


@dataclass(frozen=True, kw_only=True)
class General:
    """The general text before and after."""

    text: str
    before: Evaluation
    after: Evaluation
    rise: Estimate  # of bits per byte, as a fraction


@dataclass(frozen=True, kw_only=True)
class Example:
    """One question with both answers."""

    prompt: Any
    expected: str
    before: str
    after: str


@dataclass(frozen=True, kw_only=True)
class Card:
    """All of it; what was not measured is None."""

    base: str
    tuned: str
    base_sha256: str
    tuned_sha256: str
    questions: int
    identical_fraction: float | None  # of the answers
    gains: Mapping[str, Gain]  # by METRICS; none without questions
    general: General | None
    forgetting: bool
    nothing_changed: str | None  # why it is thought so
    examples: Sequence[Example]  # where the two differ most, for better and for worse

    def as_dict(self) -> dict[str, Any]:
        """For JSON."""
        return asdict(self)


def make_card(base: Side, tuned: Side, *, questions: Sequence[AnswerRow] = (), text: str = "") -> Card:
    """text: name of the general text. Raises DataError for answers that are not one for each question."""
    for side in (base, tuned):
        if len(side.answers) != len(questions):
            raise DataError(f"{side.name}: {len(side.answers):,} answers to {len(questions):,} questions")
    old, new = ([score_answer(answer, row.expected) for answer, row in zip(side.answers, questions, strict=True)]
                for side in (base, tuned))
    same = [a == b for a, b in zip(base.answers, tuned.answers, strict=True)]
    general = compare_general(base, tuned, text)
    return Card(base=base.name, tuned=tuned.name, base_sha256=base.model_sha256, tuned_sha256=tuned.model_sha256,
                questions=len(questions), identical_fraction=sum(same) / len(same) if same else None,
                gains={name: gain(old, new, name=name) for name in METRICS} if same else {}, general=general,
                forgetting=general is not None and general.rise.value > TOLERATED_RISE and general.rise.low > 0,
                nothing_changed=unchanged(base, tuned, same),
                examples=[Example(prompt=questions[n].prompt, expected=questions[n].expected, before=base.answers[n],
                                  after=tuned.answers[n]) for n in most_different(old, new)])


def gain(before: Sequence[AnswerScores], after: Sequence[AnswerScores], *, name: str) -> Gain:
    """One metric; better or worse only where the interval of the difference leaves out 0."""
    old, new = ([vars(row)[name] for row in rows] for rows in (before, after))
    difference = paired_difference(old, new)
    verdict: Verdict = "better" if difference.low > 0 else "worse" if difference.high < 0 else "no clear change"
    return Gain(before=sum(old) / len(old), after=sum(new) / len(new), difference=difference, verdict=verdict)


def compare_general(base: Side, tuned: Side, text: str) -> General | None:
    """Both totals, and the rise with its interval."""
    if not base.general or not tuned.general:
        return None
    blocks = [np.array([(block.nats, block.bytes) for block in side.general], np.float64) for side in (base, tuned)]
    return General(text=text, before=total(base.general), after=total(tuned.general), rise=ratio_change(*blocks))


def unchanged(base: Side, tuned: Side, same: Sequence[bool]) -> str | None:
    """The strongest sign that tuning did nothing, as a sentence."""
    if base.model_sha256 == tuned.model_sha256:
        return "both have the same weights"
    if base.general and list(base.general) == list(tuned.general):
        return "the general text costs both the same, to the last bit"
    if same and sum(same) > IDENTICAL_ENOUGH * len(same):
        return f"{sum(same):,} of {len(same):,} answers are the same"
    return None


def most_different(before: Sequence[AnswerScores], after: Sequence[AnswerScores]) -> list[int]:
    """Numbers of the questions that gained most, then of those that lost most, by chrF; none where nothing moved."""
    moved = sorted(((new.chrf - old.chrf, n) for n, (old, new) in enumerate(zip(before, after, strict=True))),
                   key=lambda pair: (-pair[0], pair[1]))
    best = [n for change, n in moved[:EXAMPLES] if change > 0]
    return best + [n for change, n in moved[::-1][:EXAMPLES] if change < 0]
