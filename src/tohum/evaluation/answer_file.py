"""Answer file: JSONL, one answered prompt per line <-> rows, for whoever generates answers and whoever judges them.

    {"prompt": "Name a colour.", "expected": "Red.", "answer": "Blue.", "finish_reason": "stop", "place": "test.json:7"}

A prompt is a text or a list of messages ({"role": …, "content": …}); without "answer" a row is a question only.
"""

import json
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from tohum.documents.records import clean, json_kind, jsonl_rows
from tohum.errors import DataError
from tohum.files import write_text

Messages = list[dict[str, str]]


@dataclass(frozen=True, kw_only=True)
class AnswerRow:
    """A prompt, what was expected, and what a model said."""

    prompt: str | Messages
    expected: str
    answer: str | None = None  # None: not asked yet
    finish_reason: str | None = None  # "stop" or "length"
    place: str = ""  # "file.jsonl:3", where the prompt stood


def write_answers(path: Path, rows: Iterable[AnswerRow]) -> None:
    """Atomic; what is unknown is left out."""
    kept = ({key: value for key, value in asdict(row).items() if value is not None and (key, value) != ("place", "")}
            for row in rows)
    write_text(path, "".join(json.dumps(line, ensure_ascii=False) + "\n" for line in kept))


def read_answers(path: Path, *, answered: bool = True) -> list[AnswerRow]:
    """All rows; with `answered` each must have an answer. Other keys are passed over.

    Raises DataError naming file, line and key; also for a file without rows.
    """
    if not path.is_file():
        what = "is a folder" if path.is_dir() else "no such file"
        raise DataError(f"{path}: {what}; expected a JSONL file of prompts and answers, one object per line")
    rows = [answer_row(row, f"{path}:{number}", answered) for number, row in jsonl_rows(path)]
    if not rows:
        raise DataError(f"{path}: no rows; expected one JSON object per line, with the keys prompt, expected"
                        + (", answer" if answered else ""))
    return rows


def answer_row(row: Any, where: str, answered: bool) -> AnswerRow:
    """One line. Raises DataError."""
    if not isinstance(row, Mapping):
        raise DataError(f"{where}: a JSON {json_kind(row)}; expected an object with the keys prompt and expected")
    for key in ("prompt", "expected", *(["answer"] if answered else [])):
        if row.get(key) is None:
            names = ", ".join(list(map(str, row))[:12]) or "none"
            raise DataError(f"{where}: no '{key}'; the keys that are there: {names}")
    texts = {key: text_in(row, key, where) for key in ("expected", "answer", "finish_reason", "place")
             if row.get(key) is not None}
    prompt = row["prompt"]
    return AnswerRow(prompt=messages_in(prompt, where) if isinstance(prompt, list) else text_in(row, "prompt", where),
                     **({"place": where} | texts))


def text_in(row: Mapping[str, Any], key: str, where: str) -> str:
    """A value that must be a string. Raises DataError."""
    if not isinstance(row[key], str):
        raise DataError(f"{where}: '{key}' is a JSON {json_kind(row[key])}; expected a string")
    return clean(row[key])


def messages_in(prompt: Sequence[Any], where: str) -> Messages:
    """A conversation up to the answer. Raises DataError."""
    if not prompt:
        raise DataError(f"{where}: 'prompt' is an empty list; expected messages with role and content")
    for number, message in enumerate(prompt, 1):
        if not (isinstance(message, dict) and all(isinstance(message.get(key), str) for key in ("role", "content"))):
            raise DataError(f"{where}: message {number} of 'prompt' is {str(message)[:60]}; "
                            "expected an object with the texts role and content")
    return [{key: clean(value) if isinstance(value, str) else value for key, value in message.items()}
            for message in prompt]
