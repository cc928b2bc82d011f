"""`tohum chat`: a conversation in the terminal, streamed, with the model's own chat template."""

import sys
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from tohum.cli.generate import open_model
from tohum.cli.options import FOLDER, choice_options, device_options, int8_option
from tohum.cli.output import say

if TYPE_CHECKING:
    from tohum.generation.choice import Choice
    from tohum.loading.folder import LoadedModel
    from tohum.tokenizing.template import ChatTemplate


@click.command("chat")
@click.argument("model", type=FOLDER)
@click.option("--system", metavar="TEXT", help="What the model is told before the conversation.")
@click.option("--template", "template_file", type=FOLDER, help="A chat template in Jinja, instead of the model's own.")
@click.option("--max-tokens", type=click.IntRange(1), default=512, show_default=True, help="Of each answer, at most.")
@choice_options
@int8_option
@device_options
def command(model: Path, system: str | None, template_file: Path | None, max_tokens: int, int8: bool,
            seed: int | None,
            device: str, dtype: str, **choice: Any) -> None:
    """Talk with a model that was trained on conversations.

    Answers go to stdout as they are made. One line is one message; /reset begins anew, /quit or Ctrl-D ends.

    \b
    Example:
      tohum chat models/smollm2 --system "You answer in one sentence."
    """
    from tohum.config import validate
    from tohum.generation.choice import Choice

    given = {name: value for name, value in {**choice, "seed": seed}.items() if value is not None}
    chosen = validate(Choice, given, where="chat")
    loaded = open_model(model, device, dtype, int8=int8)
    template = find_template(loaded, template_file)
    start = [{"role": "system", "content": system}] if system else []
    messages = list(start)
    for line in lines():
        if line == "/quit":
            return
        if line == "/reset":
            messages = list(start)
            continue
        messages.append({"role": "user", "content": line})
        answer = reply(loaded, template, messages, chosen, max_tokens)
        messages.append({"role": "assistant", "content": answer})


def find_template(loaded: "LoadedModel", file: Path | None) -> "ChatTemplate":
    """--template, else the model's own. Raises TohumError where there is none."""
    from tohum.errors import ConfigError, DataError
    from tohum.tokenizing.template import ChatTemplate, load_template

    if file is not None:
        if not file.is_file():
            raise DataError(f"{file}: no such file; expected a chat template in Jinja")
        return ChatTemplate(source=file.read_text("utf-8", errors="replace"), special=loaded.tokenizer.special)
    found = load_template(loaded.folder, loaded.tokenizer)
    if found is None:
        raise ConfigError(f"{loaded.folder}: has no chat template; it was not trained on conversations\n"
                          f"give one with --template FILE, or continue a text with 'tohum generate'")
    return found


def lines() -> Iterator[str]:
    """What a person types, or what stands in stdin; empty lines are passed over."""
    person = sys.stdin.isatty()
    while True:
        if person:
            print("> ", end="", file=sys.stderr, flush=True)
        line = sys.stdin.readline()
        if not line:
            return
        if line.strip():
            yield line.strip()


def reply(loaded: "LoadedModel", template: "ChatTemplate", messages: list[dict[str, str]], choice: "Choice",
          max_tokens: int) -> str:
    """Stream the next answer to stdout and return it."""
    from tohum.generation.text import generate_text

    text = template.render(messages, add_generation_prompt=True)
    ids = loaded.tokenizer.encode(text, allow_special=True)
    if len(ids) > loaded.config.context:
        say(f"note: the conversation has {len(ids):,} tokens, but the model's context is {loaded.config.context:,}; "
            "its beginning is no longer read")
    result = generate_text(loaded.network, loaded.tokenizer, [ids], choice=choice, max_tokens=max_tokens,
                           ends=loaded.ends,
                           on_text=lambda _, piece: print(piece, end="", flush=True))[0]
    print(flush=True)
    return result.text
