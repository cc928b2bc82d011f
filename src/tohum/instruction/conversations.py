"""A file of instructions or conversations in any of the usual forms -> conversations, and what was recognised.

Recognised by the keys of the first rows: Alpaca (instruction, input, output), messages (OpenAI), conversations
(ShareGPT), prompt and completion (texts or lists of turns), question and answer.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from tohum.errors import DataError
from tohum.finetuning.columns import Columns, answer_messages, columns_of, question_messages
from tohum.finetuning.conversations import CONVERSATION_KEYS, Conversation, check_answered, each_row, tools_of, turns
from tohum.finetuning.rows import Row, read_rows

FIRST_ROWS = 100
KNOWN = ("instruction, input, output (Alpaca); messages (OpenAI); conversations (ShareGPT); prompt, completion; "
         "question, answer")


@dataclass(frozen=True, kw_only=True)
class Form:
    """How the rows of a file are read: a list of turns under one key, or named fields."""

    name: str
    turns_key: str | None = None
    columns: Columns | None = None

    @property
    def used(self) -> tuple[str, ...]:
        """The keys that are read."""
        return (self.turns_key,) if self.turns_key else self.columns.used if self.columns else ()


@dataclass(frozen=True, kw_only=True)
class Instructions:
    """What a file holds. `described` is the line for the user: the form, the keys, and those that are not used."""

    conversations: list[Conversation]
    form: str
    described: str


def read_conversations(path: Path) -> Instructions:
    """All rows of a file. Raises DataError that names file, line and key; one for all bad rows."""
    rows = list(read_rows(path))
    if not rows:
        raise DataError(f"{path}: no rows; expected one conversation a row, with the keys {KNOWN}")
    keys = list(dict.fromkeys(key for _, row in rows[:FIRST_ROWS] for key in row))
    form = recognise(path, keys, rows[:FIRST_ROWS])
    conversations = each_row(rows, lambda row, place: conversation_of(row, form, place))
    used = (*form.used, *(["tools"] if any(found.tools for found in conversations) else []))
    unused = [key for key in keys if key not in used]
    described = (f"{path}: {form.name}, read from {', '.join(used)}; {len(rows):,} rows"
                 + (f"; not used: {', '.join(unused)}" if unused else ""))
    return Instructions(conversations=conversations, form=form.name, described=described)


def recognise(path: Path, keys: Sequence[str], rows: Sequence[tuple[str, Row]]) -> Form:
    """The form of a file. Raises DataError that lists the keys seen and the forms known."""
    for key in CONVERSATION_KEYS:
        values = [row[key] for _, row in rows if row.get(key)]
        if values:
            share = isinstance(values[0], list) and isinstance(values[0][0], dict) and "from" in values[0][0]
            return Form(name="ShareGPT" if share else "messages", turns_key=key)
    columns = columns_of(keys)
    if columns is None or columns.answer is None:
        lacking = f"'{columns.question}' is there, but no answer: " if columns else ""
        hint = ("\npairs of answers, chosen and rejected, are learned by: tohum finetune prefer"
                if {"chosen", "rejected"} <= set(keys) else "")
        raise DataError(f"{path}: {lacking}the keys are {', '.join(keys[:12]) or 'none'}\nexpected {KNOWN}{hint}")
    return Form(name=columns.name, columns=columns)


def conversation_of(row: Row, form: Form, place: str) -> Conversation:
    """One row -> its conversation, which ends with an answer. Raises DataError."""
    if form.turns_key is not None:
        if form.turns_key not in row:
            raise DataError(f"{place}: no key '{form.turns_key}'; the keys that are there: {', '.join(row) or 'none'}")
        where = f"{place}: '{form.turns_key}'"
        messages = turns(row[form.turns_key], where)
    else:
        assert form.columns is not None
        assert form.columns.answer is not None
        where = f"{place}: '{form.columns.answer}'"
        if form.columns.answer not in row:
            raise DataError(f"{place}: no key '{form.columns.answer}'; the keys that are there: "
                            f"{', '.join(row) or 'none'}")
        messages = (*question_messages(row, form.columns, place),
                    *answer_messages(row, form.columns.answer, place))
    check_answered(messages, where)
    return Conversation(messages, place, tools_of(row, place))
