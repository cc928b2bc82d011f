"""Named fields of a row (instruction, input, output; prompt, completion; question, answer) -> messages."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from tohum.documents.records import json_kind
from tohum.errors import DataError
from tohum.finetuning.conversations import Message, Messages, turns
from tohum.finetuning.rows import Row

SYSTEM_KEYS = ("system", "system_prompt")


@dataclass(frozen=True, kw_only=True)
class Asking:
    """A way to name what is asked and what is answered; of several names the first that is there counts."""

    name: str
    question: str
    inputs: tuple[str, ...] = ()
    answers: tuple[str, ...]

    def found(self, keys: Iterable[str]) -> "Columns | None":
        """The fields that this way finds among the keys of a file; None without a question."""
        there = set(keys)
        if self.question not in there:
            return None
        return Columns(name=self.name, question=self.question, input=first(self.inputs, there),
                       answer=first(self.answers, there), system=first(SYSTEM_KEYS, there),
                       history="history" if "history" in there else None)


@dataclass(frozen=True, kw_only=True)
class Columns:
    """The keys of one file; None for what its rows do not have."""

    name: str
    question: str
    input: str | None
    answer: str | None
    system: str | None
    history: str | None

    @property
    def used(self) -> tuple[str, ...]:
        """In the order in which they are read."""
        keys = (self.system, self.history, self.question, self.input, self.answer)
        return tuple(key for key in keys if key is not None)


ASKING = (
    Asking(name="Alpaca", question="instruction", inputs=("input", "context"),
           answers=("output", "response", "answer")),
    Asking(name="Alpaca (Turkish keys)", question="talimat", inputs=("giriş",), answers=("çıktı", "cevap")),
    Asking(name="prompt and completion", question="prompt", answers=("completion", "response", "output", "answer")),
    Asking(name="question and answer", question="question", inputs=("context",),
           answers=("answer", "response", "output")),
    Asking(name="question and answer (Turkish keys)", question="soru", answers=("cevap",)),
)


def first(names: Iterable[str], there: set[str]) -> str | None:
    """The first name that is there."""
    return next((name for name in names if name in there), None)


def columns_of(keys: Sequence[str]) -> Columns | None:
    """How the rows of a file ask, by its keys; None where they do not."""
    found = [columns for asking in ASKING if (columns := asking.found(keys))]
    return next((columns for columns in found if columns.answer), found[0] if found else None)


def question_messages(row: Row, columns: Columns, where: str) -> Messages:
    """The messages up to the answer. A prompt may be a list of turns. Raises DataError."""
    asked = row.get(columns.question)
    start: list[Message] = []
    if columns.system and (system := field_text(row, columns.system, where)):
        start.append({"role": "system", "content": system})
    if columns.history:
        start += history_messages(row.get(columns.history), where, columns.history)
    if isinstance(asked, list):
        return (*start, *turns(asked, f"{where}: '{columns.question}'"))
    question = field_text(row, columns.question, where)
    more = field_text(row, columns.input, where) if columns.input else ""
    if not question.strip() and not more.strip():
        raise DataError(f"{where}: '{columns.question}' is empty; remove the row or fill it")
    message: Message = {"role": "user", "content": f"{question}\n\n{more}" if more.strip() else question}
    if more.strip():  # for templates that have a place of its own for the input
        message |= {"instruction": question, "input": more}
    return (*start, message)


def history_messages(value: object, where: str, key: str) -> list[Message]:
    """LLaMA-Factory's history: a list of [question, answer]."""
    if value in (None, "", []):
        return []
    if not isinstance(value, list) or not all(isinstance(pair, list) and len(pair) == 2 and
                                              all(isinstance(text, str) for text in pair) for pair in value):
        raise DataError(f"{where}: '{key}' is no list of questions and answers; expected [[question, answer], …]")
    return [{"role": role, "content": text} for pair in value
            for role, text in zip(("user", "assistant"), pair, strict=True)]


def answer_messages(row: Row, key: str, where: str) -> Messages:
    """An answer, a text or a list of turns -> messages. Raises DataError."""
    if isinstance(row.get(key), list):
        return turns(row[key], f"{where}: '{key}'")
    answer = field_text(row, key, where)
    if not answer.strip():
        raise DataError(f"{where}: '{key}' is empty; remove the row or fill it")
    return ({"role": "assistant", "content": answer},)


def field_text(row: Row, key: str, where: str) -> str:
    """The text of a field; "" where the row does not have it. Raises DataError."""
    value = row.get(key)
    if value is None:
        return ""
    if not isinstance(value, str):
        raise DataError(f"{where}: '{key}' is a {json_kind(value)}; expected a text")
    return value
