"""The chat template, the only one: messages -> the text that a model of conversations was trained on -> ids.

A template is a small program in Jinja that comes with a model, from strangers. It runs in Jinja's sandbox, and here
within limits: the names it may call on texts are listed, texts cannot grow beyond a size, and time is short.
`transformers` renders the same templates; the same messages give the same text and ids.
"""

import ctypes
import json
import threading
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from functools import cached_property
from pathlib import Path
from typing import Any

from jinja2 import TemplateError, nodes
from jinja2.compiler import CodeGenerator, Frame
from jinja2.exceptions import SecurityError
from jinja2.ext import Extension, loopcontrols
from jinja2.parser import Parser
from jinja2.runtime import Macro
from jinja2.sandbox import ImmutableSandboxedEnvironment

from tohum.errors import DataError
from tohum.files import sha256_json
from tohum.tokenizing.tokenizer import Special, Tokenizer

Message = Mapping[str, Any]

MAX_TEMPLATE_CHARACTERS = 100_000
MAX_TEXT_CHARACTERS = 4_000_000
MAX_SECONDS = 2.0
TEXT_METHODS = frozenset("capitalize count endswith find index isalnum isalpha isdigit islower isspace isupper join "
                         "lower lstrip removeprefix removesuffix replace rfind rindex rsplit rstrip split splitlines "
                         "startswith strip title upper".split())
FILTERS = frozenset("abs capitalize count d default dictsort e escape first float groupby int items join last length "
                    "list lower map max min reject rejectattr replace reverse round safe select selectattr sort "
                    "string sum title tojson trim unique upper".split())


class TooLong(TemplateError):
    """A text grew beyond the limit."""


class OutOfTime(Exception):
    """Raised inside the rendering thread by the clock."""


def within(size: float) -> None:
    """Raises TooLong."""
    if size > MAX_TEXT_CHARACTERS:
        raise TooLong(f"it makes a text of more than {MAX_TEXT_CHARACTERS:,} characters")


def size_of(value: Any) -> int:
    """Characters of a text, entries of a list."""
    return len(value) if isinstance(value, str | list | tuple) else 0


class CarefulCode(CodeGenerator):
    """Compiles `a ~ b` to a call that looks at the sizes first."""

    def visit_Concat(self, node: nodes.Concat, frame: Frame) -> None:
        self.write("environment.concatenated((")
        for argument in node.nodes:
            self.visit(argument, frame)
            self.write(", ")
        self.write("))")


class GenerationTag(Extension):
    """`{% generation %}…{% endgeneration %}` marks what the assistant says; the text is what stands inside."""

    tags = {"generation"}  # noqa: RUF012 - Jinja's own form

    def parse(self, parser: Parser) -> nodes.Node:
        line = next(parser.stream).lineno
        body = parser.parse_statements(("name:endgeneration",), drop_needle=True)
        return nodes.CallBlock(self.call_method("inside"), [], [], body).set_lineno(line)

    def inside(self, caller: Macro) -> str:
        return caller()


class Sandbox(ImmutableSandboxedEnvironment):
    """Jinja's sandbox with limits on what texts can do and grow to."""

    code_generator_class = CarefulCode
    intercepted_binops = frozenset(("+", "*", "%", "**"))

    def __init__(self) -> None:
        super().__init__(trim_blocks=True, lstrip_blocks=True, extensions=[GenerationTag, loopcontrols])
        grown = {"replace": replaced, "join": joined(self.filters["join"]), "tojson": to_json}
        self.filters = {name: grown.get(name, self.filters.get(name, to_json)) for name in FILTERS}
        self.globals = {"range": self.globals["range"], "namespace": self.globals["namespace"], "dict": dict,
                        "raise_exception": refuse, "strftime_now": lambda form: datetime.now().strftime(form)}

    def is_safe_attribute(self, obj: Any, attr: str, value: Any) -> bool:
        if isinstance(obj, str) and attr not in TEXT_METHODS:
            return False
        return super().is_safe_attribute(obj, attr, value)

    def call(self, context: Any, obj: Any, *args: Any, **kwargs: Any) -> Any:  # noqa: D102 - Jinja's
        text = getattr(obj, "__self__", None)
        if isinstance(text, str):
            name = obj.__name__
            if name == "replace":
                return replaced(text, *args, **kwargs)
            if name == "join":
                return joined(lambda values, mark: mark.join(values))(args[0], text)
        return super().call(context, obj, *args, **kwargs)

    def call_binop(self, context: Any, operator: str, left: Any, right: Any) -> Any:
        if operator == "%" and isinstance(left, str):
            raise SecurityError("formatting with % is not allowed in a chat template")
        if operator == "**":
            within(abs(left) * abs(right) * 1000.0)
        if operator == "+":
            within(size_of(left) + size_of(right))
        if operator == "*":
            sizes = [size_of(left) * (right if isinstance(right, int) else 0),
                     size_of(right) * (left if isinstance(left, int) else 0)]
            within(max(sizes))
        return super().call_binop(context, operator, left, right)

    def concatenated(self, parts: Sequence[Any]) -> str:
        """a ~ b ~ c."""
        texts = [str(part) for part in parts]
        within(sum(map(len, texts)))
        return "".join(texts)


def replaced(text: Any, old: str, new: str, count: int | None = None) -> str:
    """str.replace, which can grow a text without bound."""
    text, new = str(text), str(new)
    within(len(text) + text.count(old) * len(new) if old else (len(text) + 1) * (len(new) + 1))
    return text.replace(old, new) if count is None else text.replace(old, new, count)


def joined(join: Callable[..., Any]) -> Callable[..., Any]:
    """A join that looks at the sizes first."""
    def careful(*arguments: Any, **more: Any) -> Any:
        values = list(arguments[0])
        mark = str(arguments[1]) if len(arguments) > 1 else ""
        within(sum(len(str(value)) for value in values) + len(values) * len(mark))
        return join(values, *arguments[1:], **more)

    return careful


def to_json(value: Any, ensure_ascii: bool = False, indent: int | None = None,
            separators: tuple[str, str] | None = None, sort_keys: bool = False) -> str:
    """As transformers has it: no HTML escapes."""
    within((indent or 0) * 1000)
    return json.dumps(value, ensure_ascii=ensure_ascii, indent=indent, separators=separators, sort_keys=sort_keys)


def refuse(message: str) -> None:
    """What templates call for conversations that they were not made for."""
    raise TemplateError(str(message)[:500])


def plain(value: Any) -> Any:
    """Only what JSON has: a template gets no objects with methods of their own. Keys without a value are left out."""
    if isinstance(value, Mapping):
        return {str(key): plain(inner) for key, inner in value.items() if inner is not None}
    if isinstance(value, list | tuple):
        return [plain(inner) for inner in value]
    if value is None or isinstance(value, bool | int | float | str):
        return value
    raise DataError(f"a message holds a {type(value).__name__}; expected texts, numbers, lists and objects")


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
            raise DataError(f"the chat template cannot be used here: {str(error)[:300] or type(error).__name__}") from None
        return "".join(pieces)


def load_template(folder: Path, tokenizer: Tokenizer) -> ChatTemplate | None:
    """The template of a model folder: chat_template.jinja, else the one in tokenizer_config.json; None without."""
    path = folder / "chat_template.jinja"
    if path.is_file():
        return ChatTemplate(source=path.read_text("utf-8", errors="replace"), special=tokenizer.special)
    found = tokenizer.extra.get("chat_template")
    if isinstance(found, list):  # several by name
        found = next((entry.get("template") for entry in found
                      if isinstance(entry, dict) and entry.get("name") == "default"), None)
    return ChatTemplate(source=found, special=tokenizer.special) if isinstance(found, str) else None
