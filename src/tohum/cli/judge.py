"""`tohum judge`: answers and an endpoint -> the mean score that a judge model gives them, its reasons in a file."""

import sys
import time
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import click

from tohum.cli.options import DURATION, FOLDER, json_option
from tohum.cli.output import emit, say
from tohum.units import human_seconds

if TYPE_CHECKING:
    from tohum.evaluation.judge import Judged, Progress

FIRST_LINE_SECONDS, LINE_EVERY_SECONDS = 5.0, 15.0


@click.command("judge")
@click.argument("answers", type=FOLDER)
@click.option("--endpoint", required=True, metavar="URL",
              help="A server that speaks OpenAI's chat completions, such as http://localhost:11434/v1 (Ollama).")
@click.option("--model", required=True, metavar="NAME", help="The judge, by the name that the server knows.")
@click.option("--api-key-env", metavar="VAR", help="The environment variable that holds the API key, if one is needed.")
@click.option("--concurrency", type=click.IntRange(1, 256), default=4, show_default=True, help="Requests at once.")
@click.option("--timeout", type=DURATION, default="60s", show_default=True, help="For one reply.")
@click.option("--retries", type=click.IntRange(0), default=3, show_default=True,
              help="Further tries for an answer: time-outs, 429, 5xx, replies without a score.")
@click.option("--out", type=FOLDER, help="Where the judgements go. [ANSWERS.judged.jsonl]")
@json_option
def command(answers: Path, endpoint: str, model: str, api_key_env: str | None, concurrency: int, timeout: float,
            retries: int, out: Path | None, as_json: bool) -> None:
    """Have a model score answers from 0 to 100.

    ANSWERS is a JSONL file of rows with prompt, expected and answer, as fine-tuning writes it. They are sent to the
    endpoint, and nowhere else.

    \b
    Each judgement is appended to a file at once, so a run that was stopped goes on where it was:
      tohum judge runs/assistant/answers.jsonl --endpoint http://localhost:11434/v1 --model llama3.2
      OPENAI_KEY=... tohum judge answers.jsonl --endpoint https://api.openai.com/v1 --model gpt-4o-mini \\
        --api-key-env OPENAI_KEY
    """
    from tohum.evaluation.answer_file import read_answers
    from tohum.evaluation.endpoint import Endpoint, chat_url, key_from
    from tohum.evaluation.judge import Limits, judge

    server = Endpoint(url=chat_url(endpoint), model=model, timeout_seconds=check_timeout(timeout),
                      api_key=key_from(api_key_env))
    rows = read_answers(answers)
    target = out or answers.with_name(f"{answers.name}.judged.jsonl")
    with Line() as line:
        found = judge(rows, server, out=target, limits=Limits(concurrency=concurrency, retries=retries),
                      report=line.show)
    result = {"mean_score": found.mean.value, "low": found.mean.low, "high": found.mean.high, "scored": found.scored,
              "unscored": found.unscored, "no_reply": found.no_reply, "asked": found.asked, "model": model,
              "out": str(found.out.absolute())}
    emit(result, summary(found, len(rows)), as_json)


def check_timeout(seconds: float) -> float:
    """Raises ConfigError for one in which nothing can answer."""
    from tohum.errors import ConfigError

    if not 0 < seconds <= 86400:
        raise ConfigError(f"--timeout {seconds:g}s: expected a time up to 1d, such as 60s")
    return seconds


def summary(found: "Judged", rows: int) -> str:
    """For people."""
    lines = [f"mean score  {found.mean.value:.1f} of 100 (95 % interval {found.mean.low:.1f} to {found.mean.high:.1f})",
             f"scored      {found.scored:,} of {rows:,} answers, {found.asked:,} of them asked now",
             f"reasons     {found.out}"]
    if found.unscored > found.no_reply:
        lines.insert(2, f"unscored    {found.unscored - found.no_reply:,} whose replies held no score")
    if found.no_reply:
        lines.insert(2, f"no reply    {found.no_reply:,}; run the same command again to ask for them")
    return "\n".join(lines)


@dataclass
class Line:
    """Where a run stands, on stderr: one line that is written over on a terminal, a new one now and then elsewhere."""

    next_line: float = 0.0
    written: bool = False

    def __enter__(self) -> "Line":
        self.next_line = time.monotonic() + FIRST_LINE_SECONDS
        return self

    def __exit__(self, *_: object) -> None:
        if self.written:
            print(file=sys.stderr, flush=True)

    def show(self, progress: "Progress") -> None:
        """After each row."""
        mean = "" if progress.mean is None else f" · mean {progress.mean:.1f}"
        unscored = f" · {progress.unscored:,} unscored" if progress.unscored else ""
        text = (f"judged {progress.done:,}/{progress.total:,}{mean}{unscored} · "
                f"{human_seconds(progress.seconds_left)} left")
        if sys.stderr.isatty():
            self.written = True
            print(f"\r\x1b[K{text}", end="", file=sys.stderr, flush=True)
        elif time.monotonic() >= self.next_line:
            self.next_line = time.monotonic() + LINE_EVERY_SECONDS
            say(text)
