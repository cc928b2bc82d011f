"""Recipes: defaults < recipe.toml < flags and `--set section.key=value`, checked all at once.

A recipe is a frozen pydantic model. Unknown keys are errors with a suggestion; every problem is reported
together; the resolved recipe is written beside the run and reproduces it.
"""

import difflib
import tomllib
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, Self, TypeVar

import tomli_w
from pydantic import BaseModel, ConfigDict, ValidationError

from tohum.errors import ConfigError
from tohum.files import write_text


class Config(BaseModel):
    """Base of all settings: frozen, no unknown keys, defaults checked too."""

    model_config = ConfigDict(frozen=True, extra="forbid", validate_default=True)

    def replace(self, **changes: Any) -> Self:
        """A copy with some fields changed, validated again."""
        return type(self).model_validate(self.model_dump() | changes)


Recipe = TypeVar("Recipe", bound=Config)


def resolve(kind: type[Recipe], *, file: Path | None = None, flags: Mapping[str, Any] | None = None,
            assignments: Sequence[str] = (), alternatives: Sequence[Sequence[str]] = ()) -> Recipe:
    """Build a recipe: defaults, then the TOML file, then flags ("training.steps": 5), then --set texts.

    Flags whose value is None were not given and change nothing. `alternatives` are groups of dotted keys that
    exclude each other: one given as a flag takes the place of the file's. Raises ConfigError naming every problem.
    """
    values: dict[str, Any] = read_toml(file) if file else {}
    for group in alternatives:
        if any((flags or {}).get(key) is not None for key in group):
            drop(values, group)
    for key, value in (flags or {}).items():
        if value is not None:
            assign(values, key, value)
    for text in assignments:
        key, equals, value = text.partition("=")
        if not equals:
            raise ConfigError(f"--set {text}: expected section.key=value")
        assign(values, key.strip(), toml_value(value.strip()))
    return validate(kind, values, where=str(file) if file else "settings")


def validate(kind: type[Recipe], values: Mapping[str, Any], where: str) -> Recipe:
    """Values -> recipe, or one ConfigError with a line for each problem (at most three, and their number)."""
    try:
        return kind.model_validate(values)
    except ValidationError as error:
        lines = [explain(kind, problem) for problem in error.errors()]
        more = [f"… and {len(lines) - 3} more"] if len(lines) > 3 else []
        raise ConfigError("\n".join(f"{where}: {line}" for line in lines[:3] + more)) from None


def explain(kind: type[BaseModel], problem: Any) -> str:
    """One pydantic problem in words, with a suggestion for an unknown key."""
    path = [str(part) for part in problem["loc"]]
    dotted = ".".join(path) or "recipe"
    if problem["type"] == "extra_forbidden":
        near = difflib.get_close_matches(dotted, known_keys(kind), n=1, cutoff=0.5)
        hint = f"did you mean '{near[0]}'?" if near else "see the recipe section of the docs for all keys"
        return f"unknown key '{dotted}'; {hint}"
    message = problem["msg"].removeprefix("Value error, ")
    if problem["type"] == "value_error":
        return f"{dotted}: {message}"
    return f"{dotted} = {problem['input']!r}: {message[0].lower()}{message[1:]}"


def known_keys(kind: type[BaseModel], prefix: str = "") -> list[str]:
    """All dotted keys of a recipe, sections included."""
    keys: list[str] = []
    for name, field in kind.model_fields.items():
        keys.append(prefix + name)
        inner = field.annotation
        if isinstance(inner, type) and issubclass(inner, BaseModel):
            keys += known_keys(inner, f"{prefix}{name}.")
    return keys


def assign(values: dict[str, Any], dotted: str, value: Any) -> None:
    """values["a"]["b"] = value for "a.b"."""
    *sections, key = dotted.split(".")
    for section in sections:
        values = values.setdefault(section, {})
        if not isinstance(values, dict):
            raise ConfigError(f"'{dotted}': '{section}' is a value, not a section")
    values[key] = value


def drop(values: dict[str, Any], dotted: Sequence[str]) -> None:
    """Remove "section.key" entries where they are."""
    for key in dotted:
        section, _, name = key.rpartition(".")
        if isinstance(values.get(section), dict):
            values[section].pop(name, None)


def toml_value(text: str) -> Any:
    """The right-hand side of --set: a TOML value, or a bare word as a string."""
    try:
        return tomllib.loads(f"value = {text}")["value"]
    except tomllib.TOMLDecodeError:
        return text


def read_toml(path: Path) -> dict[str, Any]:
    """Parse a recipe file. Raises ConfigError with file and line."""
    try:
        return tomllib.loads(Path(path).read_text("utf-8"))
    except FileNotFoundError:
        raise ConfigError(f"{path}: no such file; --config takes a recipe in TOML") from None
    except IsADirectoryError:
        raise ConfigError(f"{path}: is a folder; --config takes a recipe in TOML") from None
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
        raise ConfigError(f"{path}: not valid TOML: {error}") from None


def write_toml(path: Path, recipe: BaseModel) -> None:
    """Store the resolved recipe; fields that are None are left out (TOML has no null)."""
    write_text(path, tomli_w.dumps(recipe.model_dump(exclude_none=True, mode="json")))
