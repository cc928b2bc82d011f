"""Judged file: JSONL, one judgement per line, appended as it comes <-> judgements by key.

The key is a hash of the judge's model and the question it was asked, so a changed answer, prompt or wording of the
question is another row, and nothing else is.
"""

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from tohum.errors import ConfigError
from tohum.evaluation.answer_file import AnswerRow
from tohum.evaluation.grading import question
from tohum.files import sha256_json, try_place, user_error, write_bytes

LINE_BEGINS = b'{"key": "'


@dataclass(frozen=True, kw_only=True)
class Judgement:
    """What is known of one answer."""

    key: str
    score: int | None  # 0 to 100; None: the judge gave none, however often it was asked
    reason: str
    attempts: int


def key_of(row: AnswerRow, model: str) -> str:
    """What decides a judgement, as a hash."""
    return sha256_json({"model": model, "question": question(row)})


class JudgedFile:
    """Opens or begins a file; a last line that was cut by a kill is removed.

    Raises ConfigError for another's file, and where none can be written.
    """

    def __init__(self, path: Path):
        try_place(path)
        self.path = path
        self.found: dict[str, Judgement] = {}
        content = path.read_bytes() if path.exists() else b""
        lines = content.split(b"\n")
        torn = lines.pop()
        if torn and torn[: len(LINE_BEGINS)] != LINE_BEGINS[: len(torn)]:
            raise self.foreign(len(lines) + 1)
        for number, line in enumerate(lines, 1):
            if line.strip():
                judgement = self.read(line, number)
                self.found[judgement.key] = judgement
        if torn:
            write_bytes(path, content[: -len(torn)])

    def read(self, line: bytes, number: int) -> Judgement:
        """One line. Raises ConfigError."""
        try:
            values: Any = json.loads(line)
            score = values["score"]
            if isinstance(values["key"], str) and (score is None or score in range(101)):
                return Judgement(key=values["key"], score=score, reason=str(values["reason"]),
                                 attempts=int(values["attempts"]))
        except (ValueError, LookupError, TypeError, RecursionError):
            pass
        raise self.foreign(number)

    def foreign(self, number: int) -> ConfigError:
        """Not written by this class, so nothing is appended to it."""
        return ConfigError(f"{self.path}:{number}: not a judgement; this file was not written by 'tohum judge', or was "
                           "changed since\nchoose another --out, or remove the line")

    def append(self, judgement: Judgement, row: AnswerRow, model: str) -> None:
        """One line in one write, so that a kill leaves a whole line or a cut last one."""
        self.found[judgement.key] = judgement
        line = {"key": judgement.key, "place": row.place, "score": judgement.score, "reason": judgement.reason,
                "attempts": judgement.attempts, "model": model, "prompt": row.prompt, "expected": row.expected,
                "answer": row.answer}
        try:
            with open(self.path, "ab", buffering=0) as file:
                file.write(json.dumps(line, ensure_ascii=False).encode("utf-8", "replace") + b"\n")
        except OSError as error:
            raise user_error(error, self.path) from error
