"""Commands and recipe models -> docs/cli.md and docs/recipes.md. Run by `make docs`; a test compares the result."""

import inspect
import io
import sys
import tokenize
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import get_args

import click
import tomli_w
from pydantic import BaseModel
from pydantic.fields import FieldInfo

from tohum.classification.config import ClassifyRecipe
from tohum.cli.main import cli
from tohum.instruction.config import InstructRecipe
from tohum.preference.config import PreferRecipe
from tohum.pretraining.config import PretrainRecipe

DOCS = Path(__file__).resolve().parent
WIDTH = 100  # columns of a help text
KINDS = {"PositiveInt": "whole number from 1", "NonNegativeInt": "whole number from 0",
         "PositiveFloat": "number above 0", "NonNegativeFloat": "number from 0", "float": "number",
         "str": "text", "bool": "true or false",
         "Count": "count, such as 20000 or \"1.5M\"", "Seconds": "duration, such as \"10m\"",
         "tuple[str, ...]": "list of texts", "tuple[float, float, float]": "list of three numbers"}
RECIPES: tuple[tuple[str, dict[str, type[BaseModel]]], ...] = (
    ("tohum pretrain", {"pretrain": PretrainRecipe}),
    ("tohum finetune", {"classify": ClassifyRecipe, "instruct": InstructRecipe, "prefer": PreferRecipe}))
CLI_HEAD = """# Every command

Written by `make docs` from the commands themselves. Data goes to stdout, logs and progress to stderr; with `--json`
stdout is exactly one JSON object. Sizes and times take units: `500k`, `1.5M`, `10m`, `2h`.

Exit codes: 0 done (stopped by patience too); 1 failed; 2 wrong usage or bad input; 75 stopped early on purpose with a
checkpoint saved ("run again with --resume"); 130 and 143 after Ctrl-C and SIGTERM, with a checkpoint saved.
"""
RECIPES_HEAD = """# Every key of a recipe

Written by `make docs` from the models that check a recipe. A recipe is a TOML file, given with `--config`; each key
can be set alone with `--set section.key=value`. Defaults < recipe < flags and `--set`. An unknown key is an error
with a suggestion. A key without a default is off, or chosen before step 0, and what was chosen is stored in the run's
`config.toml`, which is a complete recipe itself.
"""


def cli_page() -> str:
    """Help of every verb, and of the verbs below it."""
    parts = [CLI_HEAD]
    for context in contexts(cli, "tohum", None):
        parts.append(f"## {context.command_path}\n\n```text\n{context.get_help().rstrip()}\n```\n")
    return "\n".join(parts)


def contexts(command: click.Command, name: str, parent: click.Context | None) -> Iterator[click.Context]:
    """The command and all below it, in the order of help, each as if it had been called."""
    context = click.Context(command, info_name=name, parent=parent, terminal_width=WIDTH, max_content_width=WIDTH,
                            **command.context_settings)
    yield context
    if isinstance(command, click.Group):
        for below in command.list_commands(context):
            inner = command.get_command(context, below)
            if inner is not None:
                yield from contexts(inner, below, context)


def recipes_page() -> str:
    """One table for each section of each recipe; what several recipes share stands there once."""
    parts = [RECIPES_HEAD]
    for title, recipes in RECIPES:
        parts.append(f"## {title}\n")
        for (name, kind), verbs in sections(recipes).items():
            only = "" if len(verbs) == len(recipes) else f": {', '.join(verbs)}"
            parts += [f"### [{name}]{only}\n", f"{first_paragraph(kind)}\n", "| key | kind | default | |",
                      "|---|---|---|---|"]
            parts += [f"| `{key}` | {kind_of_value} | {code(default)} | {comment} |"
                      for key, kind_of_value, default, comment in keys(kind)]
            parts.append("")
    return "\n".join(parts)


def sections(recipes: Mapping[str, type[BaseModel]]) -> dict[tuple[str, type[BaseModel]], list[str]]:
    """(name, model) of every section -> the verbs that have it."""
    found: dict[tuple[str, type[BaseModel]], list[str]] = {}
    for verb, recipe in recipes.items():
        for name, field in recipe.model_fields.items():
            kind = field.annotation
            assert isinstance(kind, type)
            assert issubclass(kind, BaseModel)
            found.setdefault((name, kind), []).append(verb)
    return found


def first_paragraph(kind: type[BaseModel]) -> str:
    """What the section's docstring says."""
    text = " ".join((inspect.getdoc(kind) or "").split("\n\n")[0].split())
    text = text.partition("]`")[2].lstrip(" :") or text
    return text[:1].upper() + text[1:]


def keys(kind: type[BaseModel]) -> Iterator[tuple[str, str, str, str]]:
    """(key, annotation, default, comment) of each field, the model's own first, then those that it inherits."""
    lines: dict[str, tuple[str, type]] = {}
    for base in reversed(kind.__mro__):
        if issubclass(base, BaseModel) and base.__module__.startswith("tohum."):
            lines |= {line.strip().split(":")[0]: (line.strip(), base) for line in inspect.getsource(base).splitlines()
                      if line.startswith("    ") and not line.startswith("     ")}
    depths = list(kind.__mro__)
    for name, field in sorted(kind.model_fields.items(), key=lambda item: depths.index(lines[item[0]][1])):
        line, base = lines[name]
        tokens = list(tokenize.generate_tokens(io.StringIO(line + "\n").readline))
        comments = [token.string.removeprefix("#").strip() for token in tokens if token.type == tokenize.COMMENT]
        comment = comments[0] if comments else ""
        statement = line.partition(":")[2].removesuffix(f"# {comment}").strip()
        annotation = statement.partition(" = ")[0].replace(" | None", "")
        yield name, in_words(annotation, base), in_toml(field), comment


def in_toml(field: FieldInfo) -> str:
    """A default as it is written in a recipe; nothing for one that is chosen later."""
    if field.is_required() or field.default is None:
        return ""
    if isinstance(field.default, tuple):  # tomli_w spreads lists over lines
        return "[" + ", ".join(tomli_w.dumps({"x": item}).strip()[4:] for item in field.default) + "]"
    return tomli_w.dumps({"x": field.default}).strip()[4:]


def in_words(annotation: str, base: type) -> str:
    """An annotation in the source of `base` as a reader of TOML says it."""
    if annotation.startswith("Literal["):
        return annotation.removeprefix("Literal[").removesuffix("]").replace(", ", " or ")
    choices = get_args(getattr(sys.modules[base.__module__], annotation, None))
    if choices and all(isinstance(choice, str) for choice in choices):
        return " or ".join(f'"{choice}"' for choice in choices)
    return KINDS.get(annotation, annotation)


def code(text: str) -> str:
    """Text as inline code inside a table; nothing for nothing."""
    return "`" + text.replace("|", "\\|") + "`" if text else ""


if __name__ == "__main__":
    folder = Path(sys.argv[1]) if len(sys.argv) > 1 else DOCS
    for name, text in (("cli.md", cli_page()), ("recipes.md", recipes_page())):
        (folder / name).write_text(text, "utf-8")
        print(f"{folder.name}/{name}: {len(text.splitlines())} lines")
