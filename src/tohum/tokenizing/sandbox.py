"""The sandbox for chat templates, which are programs of strangers: Jinja's own, with limits on size.

Jinja's sandbox keeps a template away from Python. What it does not do is keep it from filling the memory: a text that
is joined to itself thirty times has a billion characters, a list that holds the one before it twice is as bad. So what
a template makes is weighed as it is made, and methods and filters are those that are listed.
"""

import json
from collections.abc import Callable, Mapping, Sequence
from datetime import datetime
from typing import Any

from jinja2 import TemplateError, nodes
from jinja2.compiler import CodeGenerator, Frame
from jinja2.exceptions import SecurityError
from jinja2.ext import Extension, loopcontrols
from jinja2.parser import Parser
from jinja2.runtime import Macro
from jinja2.sandbox import ImmutableSandboxedEnvironment

MAX_TEXT_CHARACTERS = 4_000_000  # of one text, of one list with all that is in it, and of the result
MAX_NUMBER_BITS = 1024
OPEN, CLOSE = "\ufdd0", "\ufdd1"  # code points that Unicode keeps free of characters for uses like this one
TEXT_METHODS = frozenset(("capitalize", "count", "endswith", "find", "index", "isalnum", "isalpha", "isdigit",
                          "islower", "isspace", "isupper", "join", "lower", "lstrip", "removeprefix", "removesuffix",
                          "replace", "rfind", "rindex", "rsplit", "rstrip", "split", "splitlines", "startswith",
                          "strip", "title", "upper"))
FILTERS = frozenset(("abs", "capitalize", "count", "d", "default", "dictsort", "e", "escape", "first", "float", "int",
                     "items", "last", "length", "lower", "map", "reject", "rejectattr", "round", "safe", "select",
                     "selectattr", "title", "trim", "upper"))


class TooLong(TemplateError):
    """Something grew beyond the limit."""


def within(size: float) -> None:
    """Raises TooLong."""
    if size > MAX_TEXT_CHARACTERS:
        raise TooLong(f"it makes something of more than {MAX_TEXT_CHARACTERS:,} characters")


def weigh(value: Any, so_far: int = 0) -> int:
    """`so_far` and the size of a value with all that is in it, as often as it is in it. Raises TooLong."""
    so_far += len(value) if isinstance(value, str) else 1
    within(so_far)
    if isinstance(value, Mapping):
        for key, inner in value.items():
            so_far = weigh(inner, weigh(key, so_far))
    elif isinstance(value, list | tuple):
        for inner in value:
            so_far = weigh(inner, so_far)
    return so_far


def built(value: Any) -> Any:
    """The value, if it is not too large: whatever a template makes or writes out is weighed first."""
    weigh(value)
    return value


def collected(values: Any) -> list[Any]:
    """The list of what comes one by one, weighed as it comes."""
    found, size = [], 0
    for value in values:
        size = weigh(value, size)
        found.append(value)
    return found


class CarefulCode(CodeGenerator):
    """Compiles what makes texts and lists to calls that look at the sizes."""

    def visit_Concat(self, node: nodes.Concat, frame: Frame) -> None:
        """a ~ b ~ c."""
        self.write("environment.concatenated((")
        for argument in node.nodes:
            self.visit(argument, frame)
            self.write(", ")
        self.write("))")

    def visit_List(self, node: nodes.List, frame: Frame) -> None:
        """[a, b]."""
        self.weighed(super().visit_List, node, frame)

    def visit_Tuple(self, node: nodes.Tuple, frame: Frame) -> None:
        """(a, b), where it is a value and no target."""
        if node.ctx == "load":
            self.weighed(super().visit_Tuple, node, frame)
        else:
            super().visit_Tuple(node, frame)

    def visit_Dict(self, node: nodes.Dict, frame: Frame) -> None:
        """{a: b}."""
        self.weighed(super().visit_Dict, node, frame)

    def weighed(self, visit: Callable[[Any, Frame], None], node: nodes.Node, frame: Frame) -> None:
        """The same code inside a call."""
        self.write("environment.built(")
        visit(node, frame)
        self.write(")")


class GenerationTag(Extension):
    """`{% generation %}…{% endgeneration %}` marks what the assistant says; the text is what stands inside.

    A sandbox with `marking` writes OPEN and CLOSE around it.
    """

    tags = {"generation"}  # noqa: RUF012 - Jinja's own form

    def parse(self, parser: Parser) -> nodes.Node:
        line = next(parser.stream).lineno
        body = parser.parse_statements(("name:endgeneration",), drop_needle=True)
        return nodes.CallBlock(self.call_method("inside"), [], [], body).set_lineno(line)

    def inside(self, caller: Macro) -> str:
        text = caller()
        return OPEN + text + CLOSE if isinstance(self.environment, Sandbox) and self.environment.marking else text


class Sandbox(ImmutableSandboxedEnvironment):
    """Jinja's sandbox with limits on what texts can do and grow to."""

    code_generator_class = CarefulCode
    intercepted_binops = frozenset(("+", "*", "%", "**"))
    built = staticmethod(built)

    def __init__(self, *, marking: bool = False) -> None:
        self.marking = marking
        super().__init__(trim_blocks=True, lstrip_blocks=True, extensions=[GenerationTag, loopcontrols],
                         finalize=built)
        careful = {"replace": replaced, "join": joined, "tojson": to_json, "list": collected,
                   "string": lambda value: str(built(value)), "reverse": reversed_}
        self.filters = {name: self.filters[name] for name in FILTERS} | careful
        kept: dict[str, Any] = {name: self.globals[name] for name in ("range", "namespace")}
        self.globals = kept | {"dict": lambda *args, **more: built(dict(*args, **more)), "raise_exception": refuse,
                               "strftime_now": lambda form: datetime.now().strftime(str(form)[:100])}

    def is_safe_attribute(self, obj: Any, attr: str, value: Any) -> bool:
        """Texts have the listed methods; all else is Jinja's to decide."""
        if isinstance(obj, str) and attr not in TEXT_METHODS:
            return False
        return super().is_safe_attribute(obj, attr, value)

    def wrap_str_format(self, value: Any) -> Any:
        """str.format can make a text of any width."""
        if super().wrap_str_format(value) is not None:
            raise SecurityError("format is not allowed in a chat template")

    def call(self, context: Any, obj: Any, *args: Any, **kwargs: Any) -> Any:
        """Methods of texts that can grow them go through the careful functions."""
        text, name = getattr(obj, "__self__", None), getattr(obj, "__name__", "")
        if isinstance(text, str) and name == "replace":
            return replaced(text, *args, **kwargs)
        if isinstance(text, str) and name == "join":
            return joined(args[0] if args else (), text)
        return super().call(context, obj, *args, **kwargs)

    def call_binop(self, context: Any, operator: str, left: Any, right: Any) -> Any:
        """The operators that make large things."""
        if operator == "%" and isinstance(left, str):
            raise SecurityError("formatting with % is not allowed in a chat template")
        if operator == "+" and not isinstance(left, int | float):
            within(weigh(left) + weigh(right))
        if operator == "*":
            for many, times in ((left, right), (right, left)):
                if isinstance(many, str | list | tuple) and isinstance(times, int):
                    within(weigh(many) * times)
        if operator in ("*", "**") and isinstance(left, int) and isinstance(right, int):
            bits = left.bit_length() * (max(right, 0) if operator == "**" else 1)
            if bits + right.bit_length() > MAX_NUMBER_BITS:
                raise TooLong("it makes a very large number")
        return super().call_binop(context, operator, left, right)

    def concatenated(self, parts: Sequence[Any]) -> str:
        """a ~ b ~ c."""
        texts = [str(built(part)) for part in parts]
        within(sum(map(len, texts)))
        return "".join(texts)


def replaced(text: Any, old: Any, new: Any, count: int | None = None) -> str:
    """str.replace, which can grow a text without bound."""
    text, old, new = (str(built(part)) for part in (text, old, new))
    times = text.count(old) if old else len(text) + 1
    within(len(text) + times * len(new))
    return text.replace(old, new, -1 if count is None else count)


def joined(values: Any, mark: Any = "", attribute: str | None = None) -> str:
    """The texts of values with a mark between them."""
    if attribute is not None:
        raise TemplateError("join by an attribute is not done here; use map first")
    texts, size, mark = [], 0, str(built(mark))
    for value in values:
        texts.append(str(built(value)))
        size += len(texts[-1]) + len(mark)
        within(size)
    return mark.join(texts)


def reversed_(values: Any) -> Any:
    """A text or a list from its end."""
    return values[::-1] if isinstance(values, str) else collected(values)[::-1]


def to_json(value: Any, ensure_ascii: bool = False, indent: int | None = None,
            separators: tuple[str, str] | None = None, sort_keys: bool = False) -> str:
    """As transformers has it: no HTML escapes."""
    within(weigh(value) * (1 + (indent or 0)))
    return json.dumps(value, ensure_ascii=ensure_ascii, indent=indent, separators=separators, sort_keys=sort_keys)


def refuse(message: str) -> None:
    """What templates call for conversations that they were not made for."""
    raise TemplateError(str(message)[:500])
