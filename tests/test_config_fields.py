"""No dead settings: every field of every Config is read somewhere other than where it is declared and validated."""

import ast
import importlib
import pkgutil
from collections import Counter
from collections.abc import Iterator
from pathlib import Path

import tohum
from tohum.config import Config

SRC = Path(__file__).resolve().parents[1] / "src" / "tohum"


def config_classes() -> list[type[Config]]:
    """All subclasses after every module was imported."""
    for found in pkgutil.walk_packages(tohum.__path__, "tohum."):
        if found.name != "tohum.__main__":
            importlib.import_module(found.name)
    classes, waiting = [], [Config]
    while waiting:
        for kind in waiting.pop().__subclasses__():
            if kind.__module__.startswith("tohum."):
                classes.append(kind)
                waiting.append(kind)
    return classes


def is_validator(node: ast.AST) -> bool:
    """A method that only checks: reading a field there does not make it work."""
    return isinstance(node, ast.FunctionDef) and any(
        "validator" in ast.unparse(decorator) for decorator in node.decorator_list)


def reads(tree: ast.AST) -> Iterator[str]:
    """Attribute names that are read below a node, validators left out."""
    for child in ast.iter_child_nodes(tree):
        if is_validator(child):
            continue
        if isinstance(child, ast.Attribute) and isinstance(child.ctx, ast.Load):
            yield child.attr
        yield from reads(child)


def test_every_config_field_is_read_by_the_program():
    read = Counter(name for path in SRC.rglob("*.py") for name in reads(ast.parse(path.read_text("utf-8"))))
    classes = config_classes()
    assert len(classes) >= 8
    dead = [f"{kind.__name__}.{name}" for kind in classes for name in kind.model_fields if not read[name]]
    assert not dead, dead


def test_a_field_that_only_its_validator_reads_counts_as_dead():
    tree = ast.parse("class A:\n @model_validator(mode='after')\n def check(self):\n  return self.width\n"
                     " def used(self):\n  return self.depth\n")
    assert list(reads(tree)) == ["depth"]
