"""The chat template, the only one: messages -> the text that a model of conversations was trained on.

A template is a small program in Jinja that comes with a model. It runs in a sandbox (sandbox.py) and for two seconds
at most. `transformers` renders the same templates: the same messages give the same text, and `Tokenizer.encode` with
`allow_special=True` the same ids.
"""

import ctypes
import re
import threading
from _thread import start_new_thread
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import Any

from tohum.errors import DataError
from tohum.files import sha256_json, write_text
from tohum.tokenizing.sandbox import CLOSE, OPEN, Sandbox, TooLong, within
from tohum.tokenizing.tokenizer import Special, Tokenizer

Message = Mapping[str, Any]

FILE = "chat_template.jinja"
MAX_TEMPLATE_CHARACTERS = 100_000
MAX_SECONDS = 2.0
GENERATION = re.compile(r"\{%[-+]?\s*generation\s*[-+]?%\}")


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
    """Interrupts the thread that is inside after `seconds`: a template may loop for ever.

    A bare thread on a lock, since threading.Timer takes longer to start than most templates to render.
    """

    def __init__(self, seconds: float):
        self.thread, self.seconds = threading.get_ident(), seconds
        self.inside, self.turn = threading.Lock(), threading.Lock()
        self.rang = self.left = False

    def wait(self) -> None:
        """In the clock's thread."""
        if self.inside.acquire(timeout=self.seconds):
            return
        with self.turn:
            if not self.left:
                self.rang = True
                self.interrupt(ctypes.py_object(OutOfTime))

    def interrupt(self, exception: Any) -> None:
        """Make the thread raise as soon as it runs Python again; None takes that back."""
        ctypes.pythonapi.PyThreadState_SetAsyncExc(ctypes.c_ulong(self.thread), exception)

    def __enter__(self) -> "Clock":
        self.inside.acquire()
        start_new_thread(self.wait, ())
        return self

    def __exit__(self, *_: object) -> None:
        self.inside.release()
        with self.turn:
            self.left = True
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

    @property
    def marks_answers(self) -> bool:
        """Its author says with `{% generation %}` what the assistant is to learn."""
        return GENERATION.search(self.source) is not None

    def _compile(self, *, marking: bool) -> Any:
        if len(self.source) > MAX_TEMPLATE_CHARACTERS:
            raise TooLong(f"it has {len(self.source):,} characters; at most {MAX_TEMPLATE_CHARACTERS:,} are read")
        return Sandbox(marking=marking).from_string(self.source)

    @cached_property
    def _compiled(self) -> Any:
        return self._compile(marking=False)

    @cached_property
    def _compiled_with_marks(self) -> Any:
        return self._compile(marking=True)

    def render(self, messages: Sequence[Message], *, add_generation_prompt: bool = False,
               tools: Sequence[Mapping[str, Any]] | None = None, **variables: Any) -> str:
        """The conversation as one text; with add_generation_prompt it ends where the assistant begins to speak.

        Raises DataError for a template that is damaged, too slow or too large, or that refuses the messages.
        """
        given = {"messages": messages, "tools": tools, "add_generation_prompt": add_generation_prompt}
        return self._run(variables | given, marking=False)

    def render_marked(self, messages: Sequence[Message], *,
                      tools: Sequence[Mapping[str, Any]] | None = None) -> tuple[str, list[tuple[int, int]]]:
        """The conversation as `render` gives it, and (begin, end) in characters of what `{% generation %}` marks."""
        given = {"messages": messages, "tools": tools, "add_generation_prompt": False}
        pieces: list[str] = []
        spans: list[tuple[int, int]] = []
        size = begin = 0
        for piece in re.split(f"([{OPEN}{CLOSE}])", self._run(given, marking=True)):
            if piece == OPEN:
                begin = size
            elif piece == CLOSE:
                spans.append((begin, size))
            else:
                pieces.append(piece)
                size += len(piece)
        return "".join(pieces), spans

    def _run(self, given: Mapping[str, Any], *, marking: bool) -> str:
        tokens = {f"{role}_token": token for role, token in vars(self.special).items() if token is not None}
        variables, pieces, size = tokens | plain(given), [], 0
        variables["tools"] = variables.get("tools")
        try:
            with Clock(MAX_SECONDS):
                for piece in (self._compiled_with_marks if marking else self._compiled).generate(**variables):
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
