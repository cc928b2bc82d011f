"""Files and functions stay short enough to be read at one sitting."""

import ast
from collections.abc import Iterator
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
FILE_LINES, FUNCTION_LINES, PARAMETERS, EXAMPLE_LINES, LINE_LENGTH = 400, 80, 7, 60, 120
DATA_ONLY = {"presets.py"}  # tables, exempt


def python_files(*folders: str) -> Iterator[Path]:
    for folder in folders:
        yield from sorted((ROOT / folder).rglob("*.py"))


def functions(path: Path) -> Iterator[ast.FunctionDef | ast.AsyncFunctionDef]:
    for node in ast.walk(ast.parse(path.read_text("utf-8"))):
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
            yield node


def lines(path: Path) -> int:
    return len(path.read_text("utf-8").splitlines())


def test_files_have_at_most_400_lines():
    long = [f"{path.relative_to(ROOT)}: {lines(path)}" for path in python_files("src", "tests", "benchmarks")
            if lines(path) > FILE_LINES and path.name not in DATA_ONLY]
    assert not long, long


def test_functions_have_at_most_80_lines():
    long = [f"{path.relative_to(ROOT)}:{node.lineno}: {node.name}" for path in python_files("src", "tests")
            for node in functions(path) if (node.end_lineno or 0) - node.lineno + 1 > FUNCTION_LINES]
    assert not long, long


def test_functions_have_at_most_7_parameters():
    """Verbs of the command line are exempt: their parameters are the options that click hands over."""
    wide = []
    for path in python_files("src"):
        for node in functions(path):
            a = node.args
            names = [p.arg for p in (*a.posonlyargs, *a.args, *a.kwonlyargs) if p.arg not in ("self", "cls")]
            if len(names) > PARAMETERS and path.parent.name != "cli" and path.name not in DATA_ONLY:
                wide.append(f"{path.relative_to(ROOT)}:{node.lineno}: {node.name} has {len(names)}")
    assert not wide, wide


def test_examples_fit_on_a_page():
    long = [f"{path.name}: {lines(path)}" for path in python_files("examples") if lines(path) > EXAMPLE_LINES]
    assert not long, long


def test_lines_of_templates_and_makefile_are_not_endless():
    paths = [ROOT / "Makefile", *sorted((ROOT / "src").rglob("*.html")), *sorted((ROOT / "src").rglob("*.css"))]
    wide = [f"{path.name}:{number}" for path in paths
            for number, line in enumerate(path.read_text("utf-8").splitlines(), 1) if len(line) > LINE_LENGTH]
    assert not wide, wide


def test_every_module_says_what_it_is():
    silent = [str(path.relative_to(ROOT)) for path in python_files("src", "tests", "examples")
              if path.stat().st_size and not ast.get_docstring(ast.parse(path.read_text("utf-8")))]
    assert not silent, silent
