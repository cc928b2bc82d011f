"""`tohum data`: prepare token shards from any text; inspect and verify them."""

import sys
import time
from pathlib import Path
from typing import Any

import click

from tohum.cli.options import COUNT, FOLDER, force_option, json_option
from tohum.cli.output import emit, say
from tohum.errors import ConfigError

SECONDS_BETWEEN_LINES = 10.0


@click.group(context_settings={"help_option_names": ["-h", "--help"]})
def command() -> None:
    """Stage 2: text → token shards with a split and a mixture; look at them; check them."""


@command.command()
@click.argument("sources", nargs=-1, required=True)
@click.option("--tokenizer", "tokenizer_path", type=FOLDER, required=True,
              help="Folder that `tokenizer train` made, or a published tokenizer.")
@click.option("--out", type=FOLDER, required=True, help="Folder to make.")
@click.option("--val-fraction", type=float, help="Share of the text for validation [0.1].")
@click.option("--weights", help="Shares of the sources, as in a=2,b=1 [their training tokens].")
@click.option("--alpha", type=float, help="Share ∝ weight^alpha; 0 makes all sources equal [1].")
@click.option("--split", type=click.Choice(["auto", "file", "line", "blank", "record"]),
              help="One document per file, line, blank-line block or record [auto].")
@click.option("--text-key", help="Field of a record that holds its text [text].")
@click.option("--shard-tokens", type=COUNT, help="Tokens per shard file [100M].")
@force_option
@json_option
def prepare(sources: tuple[str, ...], tokenizer_path: Path, out: Path, as_json: bool, force: bool,
            weights: str | None, **given: Any) -> None:
    """Encode SOURCES into the data folder --out.

    SOURCES are text files (also .gz, .zst), folders, JSONL, JSON, CSV, TSV or Parquet files, '-' for stdin,
    python-docs or python-source. The same call again finds its result and does nothing.
    """
    from tohum.config import validate
    from tohum.data_sampling.config import PrepareConfig
    from tohum.data_sampling.prepare import prepare as prepare_data
    from tohum.tokenizing.tokenizer import Tokenizer

    values = {key: value for key, value in given.items() if value is not None} | {"force": force}
    if weights is not None:
        values["weights"] = parse_weights(weights)
    settings = validate(PrepareConfig, values, where="data prepare")
    with Progress() as progress:
        result = prepare_data(sources, Tokenizer.load(tokenizer_path), out, settings, progress=progress.update)
    skipped = [path for source in result["sources"] for path in source["skipped"]]
    if skipped:
        say(f"passed over {len(skipped)} empty or binary files, first {skipped[0]}")
    emit(result, summary(result), as_json)


@command.command()
@click.argument("folder", type=FOLDER)
@click.option("--windows", type=click.IntRange(min=1), default=2, show_default=True, help="Of each source.")
@click.option("--max-length", type=click.IntRange(min=1), default=16, show_default=True,
              help="Tokens per window.")
@json_option
def inspect(folder: Path, windows: int, max_length: int, as_json: bool) -> None:
    """Show the sources of a data folder, and windows as inputs → targets in words."""
    from tohum.data_sampling.inspect import as_text
    from tohum.data_sampling.inspect import inspect as inspect_data
    from tohum.data_sampling.shards import DataFolder

    report = inspect_data(DataFolder.open(folder), windows=windows, max_length=max_length)
    emit(report, as_text(report, str(folder)), as_json)


@command.command()
@click.argument("folder", type=FOLDER)
@json_option
@click.pass_context
def verify(context: click.Context, folder: Path, as_json: bool) -> None:
    """Recompute every hash of a data folder; exit code 1 if anything differs."""
    from tohum.data_sampling.verify import verify as verify_data

    result = verify_data(folder)
    text = "\n".join(result["problems"]) or f"{folder}: {result['files']} files, all as they were written"
    emit(result, text, as_json)
    if not result["ok"]:
        context.exit(1)


def parse_weights(text: str) -> dict[str, float]:
    """"a=2,b=1" -> {"a": 2.0, "b": 1.0}. Raises ConfigError."""
    weights = {}
    for part in text.split(","):
        name, equals, value = part.rpartition("=")
        try:
            weights[name.strip()] = float(value)
        except ValueError:
            equals = ""
        if not equals or not name.strip():
            raise ConfigError(f"--weights {text}: '{part}' is not NAME=NUMBER; write it like a=2,b=1")
    return weights


def summary(result: dict[str, Any]) -> str:
    """What was made, for people."""
    names = ", ".join(f"{source['name']} {source['share']:.0%}" for source in result["sources"])
    verb = "found again, nothing to do" if result["reused"] else f"prepared in {result['seconds']:.1f} s"
    return (f"{result['out']}: {verb}\n"
            f"{result['documents']:,} documents, {result['train_tokens']:,} training and "
            f"{result['val_tokens']:,} validation tokens, {result['bytes_per_token']:.2f} bytes per token\n"
            f"sources: {names}\nfingerprint {result['fingerprint']}")


class Progress:
    """Where a long preparation stands: a bar on a terminal, a line now and then elsewhere; both on stderr."""

    def __init__(self) -> None:
        self._bar: Any = None
        self._tasks: dict[str, Any] = {}
        self._begun: dict[str, float] = {}
        self._next_line = time.monotonic() + SECONDS_BETWEEN_LINES

    def __enter__(self) -> "Progress":
        if sys.stderr.isatty():
            from rich.console import Console
            from rich.progress import BarColumn, TaskProgressColumn, TextColumn, TimeRemainingColumn
            from rich.progress import Progress as Bar

            self._bar = Bar(TextColumn("{task.description}"), BarColumn(), TaskProgressColumn(),
                            TimeRemainingColumn(), console=Console(stderr=True), transient=True)
            self._bar.start()
        return self

    def __exit__(self, *_: object) -> None:
        if self._bar is not None:
            self._bar.stop()

    def update(self, phase: str, done: int, total: int) -> None:
        """`done` of `total` of this phase."""
        now = time.monotonic()
        begun = self._begun.setdefault(phase, now)
        if self._bar is not None:
            if phase not in self._tasks:
                self._tasks[phase] = self._bar.add_task(phase, total=total)
            self._bar.update(self._tasks[phase], completed=done, total=total)
        elif now >= self._next_line:
            self._next_line = now + SECONDS_BETWEEN_LINES
            left = (now - begun) * (total - done) / done if done else 0.0
            say(f"{phase}: {done / max(1, total):.0%}, about {left:.0f} s left")
