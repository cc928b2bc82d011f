"""The chat template, the only one: messages -> the text that a model of conversations was trained on.

A template is a small program in Jinja that comes with a model. It runs in a sandbox (sandbox.py) and for two seconds
at most. `transformers` renders the same templates: the same messages give the same text, and `Tokenizer.encode` with
`allow_special=True` the same ids.
"""

import ctypes
import threading
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import Any

from tohum.errors import DataError
from tohum.files import sha256_json, write_text
from tohum.tokenizing.sandbox import Sandbox, TooLong, within
from tohum.tokenizing.tokenizer import Special, Tokenizer

Message = Mapping[str, Any]

FILE = "chat_template.jinja"
MAX_TEMPLATE_CHARACTERS = 100_000
MAX_SECONDS = 2.0


def plain(value: Any) -> Any:
    """Only what JSON has: a template gets no objects with methods of their own. Keys without a value are left out."""
    if isinstance(value, Mapping):
        return {str(key): plain(inner) for key, inner in value.items() if inner is not None}
    if isinstance(value, list | tuple):
        return [plain(inner) for inner in value]
    if value is None or isinstance(value, bool | int | float | str):
        return value
    raise DataError(f"a message holds a {type(value).__name__}; expected texts, numbers, lists and objects")


class OutOfTime(Exception):
    """Raised inside the rendering thread by the clock."""


class Clock:
    """Interrupts the thread that is inside after `seconds`: a template may loop for ever."""

    def __init__(self, seconds: float):
        self.thread, self.rang = threading.get_ident(), False
        self.timer = threading.Timer(seconds, self.ring)
        self.timer.daemon = True

    def ring(self) -> None:
        """From the timer's thread."""
        self.rang = True
        self.interrupt(ctypes.py_object(OutOfTime))

    def interrupt(self, exception: Any) -> None:
        """Make the thread raise as soon as it runs Python again; None takes that back."""
        ctypes.pythonapi.PyThreadState_SetAsyncExc(ctypes.c_ulong(self.thread), exception)

    def __enter__(self) -> "Clock":
        self.timer.start()
        return self

    def __exit__(self, *_: object) -> None:
        self.timer.cancel()
        if self.rang:
            self.interrupt(None)


@dataclass(frozen=True, kw_only=True)
class ChatTemplate:
    """A template and the special tokens that it may spell."""

    source: str
    special: Special = field(default_factory=Special)

    @property
    def sha256(self) -> str:
        """What a checkpoint notes, so that training and serving can be held against each other."""
        return sha256_json(self.source)

    @cached_property
    def _compiled(self) -> Any:
        if len(self.source) > MAX_TEMPLATE_CHARACTERS:
            raise TooLong(f"it has {len(self.source):,} characters; at most {MAX_TEMPLATE_CHARACTERS:,} are read")
        return Sandbox().from_string(self.source)

    def render(self, messages: Sequence[Message], *, add_generation_prompt: bool = False,
               tools: Sequence[Mapping[str, Any]] | None = None, **variables: Any) -> str:
        """The conversation as one text; with add_generation_prompt it ends where the assistant begins to speak.

        Raises DataError for a template that is damaged, too slow or too large, or that refuses the messages.
        """
        tokens = {f"{role}_token": token for role, token in vars(self.special).items() if token is not None}
        given = {"messages": plain(messages), "tools": plain(tools), "add_generation_prompt": add_generation_prompt}
        pieces, size = [], 0
        try:
            with Clock(MAX_SECONDS):
                for piece in self._compiled.generate(**(tokens | plain(variables) | given)):
                    size += len(piece)
                    within(size)
                    pieces.append(piece)
        except OutOfTime:
            raise DataError(f"the chat template takes more than {MAX_SECONDS:.0f} s; it was stopped") from None
        except Exception as error:  # a stranger's program can fail in every way there is
            reason = " ".join(str(error).split())[:300] or type(error).__name__
            raise DataError(f"the chat template cannot be used here: {reason}") from None
        return "".join(pieces)


def save_template(folder: Path, template: ChatTemplate) -> None:
    """Write it where transformers, vLLM and llama.cpp's converter look for it."""
    write_text(folder / FILE, template.source)


def load_template(folder: Path, tokenizer: Tokenizer) -> ChatTemplate | None:
    """The template of a model folder: chat_template.jinja, else the one in tokenizer_config.json; None without."""
    path = folder / FILE
    if path.is_file():
        return ChatTemplate(source=path.read_text("utf-8", errors="replace"), special=tokenizer.special)
    found = tokenizer.extra.get("chat_template")
    if isinstance(found, list):  # several by name
        found = next((entry.get("template") for entry in found
                      if isinstance(entry, dict) and entry.get("name") == "default"), None)
    return ChatTemplate(source=found, special=tokenizer.special) if isinstance(found, str) else None
