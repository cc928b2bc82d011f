"""What the tests of `tohum judge` share: an answer file, the command line, and its results."""

import json
from pathlib import Path

from click.testing import CliRunner, Result

from tohum.cli.judge import command
from tohum.errors import TohumError
from tohum.evaluation.answer_file import AnswerRow, write_answers

from .judge_server import NAME, JudgeServer


def answers(folder: Path, count: int = 12) -> Path:
    path = folder / "answers.jsonl"
    write_answers(path, [AnswerRow(prompt=f"row {n}: what is {n} + {n}?", expected=str(2 * n), answer=f"It is {2 * n}.",
                                   finish_reason="stop", place=f"test.json:{n}") for n in range(count)])
    return path


def arguments(path: Path, server: JudgeServer, *more: str) -> list[str]:
    return [str(path), "--endpoint", server.url, "--model", NAME, *more]


def run(*given: str) -> Result:
    result = CliRunner().invoke(command, list(given))
    if result.exception and not isinstance(result.exception, TohumError | SystemExit):
        raise result.exception
    return result


def judged(path: Path, server: JudgeServer, *more: str) -> dict:
    result = run(*arguments(path, server, "--json", *more))
    assert result.exit_code == 0, result.exception
    return json.loads(result.stdout)


def lines(path: Path) -> list[dict]:
    return [json.loads(line) for line in Path(path).read_text("utf-8").splitlines()]
