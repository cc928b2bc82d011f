"""Comparing: two loaded models, questions and a general text -> the before/after card."""

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass

from tohum.data_sampling.batch import Batch
from tohum.evaluation.answer_file import AnswerRow
from tohum.evaluation.card import Card, Side, make_card
from tohum.evaluation.perplexity import costs
from tohum.evaluation.respond import Manner, manner_of, respond
from tohum.loading.folder import LoadedModel

BLOCK_TOKENS = 256  # of the general text in one block of the bootstrap: neighbours depend on each other


@dataclass(frozen=True, kw_only=True)
class Trial:
    """What both models go through."""

    questions: Sequence[AnswerRow]  # may be none
    text: str  # name of the general text
    windows: Callable[[LoadedModel], Iterable[Batch]] | None  # the general text in a model's tokens; None: left out
    max_tokens: int  # of an answer


def compare_models(base: LoadedModel, tuned: LoadedModel, *, trial: Trial) -> Card:
    """Both in memory; to hold one at a time, call `measure` for each and `make_card`. Raises TohumError."""
    manner = manner_of(tuned)
    return make_card(measure(base, trial, manner=manner_of(base, manner)), measure(tuned, trial, manner=manner),
                     questions=trial.questions, text=trial.text)


def measure(loaded: LoadedModel, trial: Trial, *, manner: Manner) -> Side:
    """One model's side of the card."""
    answers = respond(loaded, [row.prompt for row in trial.questions], manner=manner, max_tokens=trial.max_tokens)
    blocks = () if trial.windows is None else tuple(
        costs(loaded.network, trial.windows(loaded), loaded.tokenizer.byte_lengths, block_tokens=BLOCK_TOKENS))
    return Side(name=str(loaded.folder), model_sha256=loaded.sha256, general=blocks,
                answers=[answer.text.strip() for answer in answers])
