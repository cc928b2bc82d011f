"""`tohum generate`: prompts -> their continuations, streamed to stdout, or one JSON object."""

import sys
import time
from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from tohum.cli.options import FOLDER, choice_options, device_options, int8_option, json_option
from tohum.cli.output import emit, say

if TYPE_CHECKING:
    from tohum.generation.text import Generated
    from tohum.loading.folder import LoadedModel


@click.command("generate")
@click.argument("model", type=FOLDER)
@click.option("--prompt", "prompts", multiple=True, metavar="TEXT",
              help="What to continue; repeatable; '-' reads it from stdin (without a final line end). "
              "[the beginning of a document]")
@click.option("--max-tokens", type=click.IntRange(1), default=128, show_default=True,
              help="New tokens, at most.")
@choice_options
@click.option("--stop", multiple=True, metavar="TEXT", help="End before this text; repeatable.")
@click.option("--n", "count", type=click.IntRange(1), default=1, show_default=True,
              help="Texts per prompt.")
@int8_option
@device_options
@json_option
def command(model: Path, prompts: tuple[str, ...], count: int, max_tokens: int, stop: tuple[str, ...],
            int8: bool, seed: int | None, device: str, dtype: str, as_json: bool, **choice: Any) -> None:
    """Continue a prompt with a model folder or a run (its best checkpoint).

    \b
    Only the new text goes to stdout, as it is made:
      tohum generate runs/first --prompt "The function returns" --max-tokens 60
      echo "Once upon a time" | tohum generate runs/first --prompt - --temperature 0
    """
    from tohum.config import validate
    from tohum.generation.choice import Choice
    from tohum.generation.text import generate_text
    from tohum.tokenizing.ends import Ends

    given = {name: value for name, value in {**choice, "seed": seed}.items() if value is not None}
    chosen = validate(Choice, given, where="generate")
    texts = [prompt for prompt in read_prompts(prompts) for _ in range(count)]
    loaded = open_model(model, device, dtype, int8=int8)
    shown = Shown()
    started = time.perf_counter()
    results = generate_text(loaded.network, loaded.tokenizer, texts, choice=chosen, max_tokens=max_tokens,
                            ends=Ends(texts=stop) | loaded.ends, on_text=None if as_json else shown.add)
    seconds = time.perf_counter() - started
    tokens_per_second = sum(len(result.token_ids) for result in results) / seconds
    note_cut_prompts(results, loaded.config.context)
    if as_json:
        emit(as_object(texts, results, tokens_per_second), "", as_json=True)
    else:
        shown.finish(texts, results)
        say(f"{sum(len(result.token_ids) for result in results):,} tokens in {seconds:.1f} s "
            f"({tokens_per_second:,.0f} per second), seed {chosen.seed}, "
            f"ended by {', '.join(dict.fromkeys(result.finish_reason for result in results))}")


class Shown:
    """stdout: the first text while it grows, the others when they are done."""

    def __init__(self) -> None:
        self.written = ""

    def add(self, number: int, piece: str) -> None:
        """A piece of the text with that number."""
        if number == 0:
            self.written += piece
            print(piece, end="", flush=True)

    def finish(self, prompts: Sequence[str], results: Sequence["Generated"]) -> None:
        """End the first text, print the others with a line on stderr before each."""
        print(flush=True)
        for number, result in enumerate(results[1:], start=2):
            say(f"-- text {number} of {len(results)}: {prompts[number - 1]!r}")
            print(result.text, flush=True)


def read_prompts(prompts: Sequence[str]) -> list[str]:
    """The prompts as given, '-' read from stdin; none at all is an empty one. Raises TohumError."""
    from tohum.errors import ConfigError, DataError

    if prompts.count("-") > 1:
        raise ConfigError("--prompt - is given twice, but stdin can be read once only")
    texts = []
    for prompt in prompts or [""]:
        try:
            text = sys.stdin.buffer.read().decode("utf-8") if prompt == "-" else prompt
            text.encode("utf-8")
        except (UnicodeDecodeError, UnicodeEncodeError) as error:
            where = "stdin" if prompt == "-" else "--prompt"
            raise DataError(f"{where}: not UTF-8 text: {error.reason} at byte {error.start}") from None
        if prompt == "-":
            text = text.removesuffix("\n").removesuffix("\r")
        texts.append(text)
    return texts


def open_model(path: Path, device: str, dtype: str, *, int8: bool = False) -> "LoadedModel":
    """The model that a path means, with a note on stderr where that is a choice.

    dtype auto: bf16 on a GPU that has it, else fp32. Raises TohumError.
    """
    from tohum.handle import load_at

    return load_at(path, device, dtype, int8=int8, say=say)


def note_cut_prompts(results: Sequence["Generated"], context: int) -> None:
    """Say which prompts the model could not read whole."""
    longest = max(result.prompt_tokens for result in results)
    if longest > context:
        say(f"note: a prompt has {longest:,} tokens, but the model's context is {context:,}; "
            f"its last {max(1, context // 2):,} were read")


def as_object(prompts: Sequence[str], results: Sequence["Generated"], tokens_per_second: float) -> dict[str, Any]:
    """The --json object: the first text, and all of them where there are several."""
    found: dict[str, Any] = asdict(results[0]) | {"tokens_per_second": tokens_per_second}
    if len(results) > 1:
        found["samples"] = [{"prompt": prompt, **asdict(result)}
                            for prompt, result in zip(prompts, results, strict=True)]
    return found
