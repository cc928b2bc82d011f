"""`tohum evaluate TUNED --against BASE`: two models, prompts and a text -> the before/after card."""

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from tohum.cli.evaluate import data_windows, figures, text_windows, window_length
from tohum.cli.generate import open_model
from tohum.cli.output import say

if TYPE_CHECKING:
    from tohum.data_sampling.batch import Batch
    from tohum.documents.document import Document
    from tohum.evaluation.compare import Trial
    from tohum.loading.folder import LoadedModel


@dataclass(frozen=True, kw_only=True)
class Comparison:
    """What the options say."""

    tuned: Path
    base: Path
    texts: tuple[str, ...]  # none and no data: the general text of evaluation/general_text.py
    data: Path | None
    prompts: Path | None
    max_tokens: int
    max_length: int | None
    batch_rows: int
    device: str
    dtype: str


def compared(asked: Comparison) -> tuple[dict[str, Any], str]:
    """The --json object (the tuned model's figures, and the card under "against"), and what people read.

    One model is in memory at a time. Raises TohumError.
    """
    from tohum.evaluation.card import make_card
    from tohum.evaluation.card_text import card_text
    from tohum.evaluation.compare import measure
    from tohum.evaluation.general_text import WINDOW_TOKENS
    from tohum.evaluation.perplexity import total
    from tohum.evaluation.respond import manner_of

    base_context = context_of(asked.base)
    loaded = open_model(asked.tuned, asked.device, asked.dtype)
    context = min(base_context, loaded.config.context)
    longest = context if asked.texts or asked.data else min(context, WINDOW_TOKENS)
    length = window_length(asked.max_length, context) if asked.max_length else longest
    trial, manner = trial_of(asked, length), manner_of(loaded)
    say(f"measuring {loaded.folder}")
    after = measure(loaded, trial, manner=manner)
    del loaded
    loaded = open_model(asked.base, asked.device, asked.dtype)
    say(f"measuring {loaded.folder}")
    before = measure(loaded, trial, manner=manner_of(loaded, manner))
    card = make_card(before, after, questions=trial.questions, text=trial.text)
    result, _ = figures(total(after.general), after.model_sha256, length)
    return result | {"against": card.as_dict()}, card_text(card)


def context_of(path: Path) -> int:
    """Tokens that a model reads at once, before it is opened; an adapter's are its base's. Raises CheckpointError."""
    from tohum.finetuning.adapter_folder import base_folder, is_adapter
    from tohum.loading.find import find_model
    from tohum.loading.folder import load_config

    folder, _ = find_model(path)
    return load_config(base_folder(folder) if is_adapter(folder) else folder).context


def trial_of(asked: Comparison, length: int) -> "Trial":
    """The questions, and the general text: as given, else the slice of python-docs."""
    from tohum.documents.source import open_sources
    from tohum.evaluation.answer_file import read_answers
    from tohum.evaluation.compare import Trial
    from tohum.evaluation.general_text import general_documents, general_name

    questions = read_answers(asked.prompts, answered=False) if asked.prompts else []
    documents: list[Document] = []
    name = f"validation part of {asked.data}" if asked.data else ", ".join(asked.texts) or general_name()
    if asked.texts:
        documents = [document for source in open_sources(asked.texts) for document in source.documents()]
    elif asked.data is None:
        documents = general_documents()

    def windows(loaded: "LoadedModel") -> Iterator["Batch"]:
        if asked.data is not None:
            return data_windows(loaded, asked.data, length=length, rows=asked.batch_rows)
        return text_windows(loaded, documents, length=length, rows=asked.batch_rows)

    return Trial(questions=questions, text=name, windows=windows, max_tokens=asked.max_tokens)
