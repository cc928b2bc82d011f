"""Encoded examples -> what a person sees before training: the texts, with the tokens that are learned marked."""

from collections.abc import Iterable, Sequence
from itertools import groupby
from typing import TextIO

from tohum.finetuning.encode import Encoded, spelled
from tohum.tokenizing.tokenizer import Tokenizer

LEARNED, PLAIN = "\x1b[1;32m", "\x1b[0m"
OPEN, CLOSE = "⟦", "⟧"
MOST_CHARACTERS = 1500
SHOWN = {code: chr(0x2400 + code) for code in range(32) if chr(code) not in "\n\t"} | {0x7F: "␡", 0x9B: "␛"}


def has_colour(stream: TextIO) -> bool:
    """A terminal, and the user did not set NO_COLOR."""
    from rich.console import Console

    console = Console(file=stream)
    return console.is_terminal and not console.no_color


def preview(encoded: Iterable[Encoded], tokenizer: Tokenizer, *, colour: bool) -> str:
    """Each example under its place: learned tokens in green, or between brackets without colour."""
    return "\n\n".join(example_text(example, tokenizer, colour=colour) for example in encoded)


def example_text(example: Encoded, tokenizer: Tokenizer, *, colour: bool) -> str:
    """One example, shortened where it is long: the middle of what is not learned goes first."""
    head = f"{example.place}: {len(example.ids):,} tokens, {example.targets:,} of them learned"
    before, after = (LEARNED, PLAIN) if colour else (OPEN, CLOSE)
    runs = [(learned, [token for token, _ in group])
            for learned, group in groupby(zip(example.ids, example.learned, strict=True), key=lambda pair: pair[1])]
    room = max(80, MOST_CHARACTERS // max(1, len(runs)))
    texts = [(learned, shortened(readable(tokenizer, ids), room)) for learned, ids in runs]
    return head + "\n" + "".join(before + text + after if learned else text for learned, text in texts)


def readable(tokenizer: Tokenizer, ids: Sequence[int]) -> str:
    """The text, special tokens by name; control characters, which could steer a terminal, as pictures of them."""
    return spelled(tokenizer, ids).decode("utf-8", "replace").translate(SHOWN)


def shortened(text: str, room: int) -> str:
    """Beginning and end of a long text."""
    if len(text) <= room:
        return text
    return f"{text[: room // 2]} … {text[-(room // 2):]}"
