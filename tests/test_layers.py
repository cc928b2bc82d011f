"""Layers of the package, read from the syntax trees: imports point down or stay inside the unit."""

import ast
import sys
from collections.abc import Iterator
from pathlib import Path

SRC = Path(__file__).resolve().parents[1] / "src" / "tohum"

# Unit (first file or folder below tohum/) -> layer. Same-layer units are strangers, but for those of layer 0.
LAYERS = {
    "tohum": -1,  # __version__
    "errors": 0, "units": 0, "files": 0, "config": 0, "documents": 0, "gguf": 0,
    "seeding": 1, "machine": 1,
    "kernels": 1.3,
    "dropout": 1.4,
    "tokenizing": 1.6,
    "data_sampling": 2,
    "environment": 3, "embedding": 3,
    "attention": 4,
    "model": 5,
    "loading": 6, "lora": 6, "generation": 6,
    "training": 7, "evaluation": 7,
    "finetuning": 7.5,  # what the three stages of fine-tuning share
    "pretraining": 8, "classification": 8, "instruction": 8, "preference": 8, "report": 8, "exporting": 8,
    "serving": 9, "quickstart": 9, "handle": 9,
    "cli": 10,
    "__main__": 11,
}
LAYER_ZERO = ("errors", "units", "files", "config", "documents", "gguf")  # each may import those before it
TORCH_FROM = {"seeding", "machine", "kernels", "dropout"}  # and every unit from layer 2 up, but not report and cli
PLAIN = {"pydantic", "tomli_w"}  # third-party packages that layer 0 may import
ANYWHERE = {"tokenizing": {"tokenizers", "jinja2", "numpy"}, "report": {"jinja2", "markupsafe"}, "cli": {"click"},
            "machine": {"psutil"}, "environment": {"psutil"}, "pretraining": {"psutil"},
            "data_sampling": {"numpy", "pydantic"}, "loading": {"safetensors", "pydantic"},
            "lora": {"safetensors", "pydantic"}, "finetuning": {"numpy", "pydantic"}, "training": {"safetensors"}}


def modules() -> Iterator[tuple[str, str, ast.Module]]:
    """(file below tohum/, its unit, its tree)."""
    for path in sorted(SRC.rglob("*.py")):
        parts = path.relative_to(SRC).with_suffix("").parts
        unit = "tohum" if parts == ("__init__",) else parts[0]
        yield str(path.relative_to(SRC)), unit, ast.parse(path.read_text("utf-8"))


def imported(tree: ast.AST) -> Iterator[tuple[str, int]]:
    """Dotted names of all imports below a node, with their line."""
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            yield from ((alias.name, node.lineno) for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"line {node.lineno}: relative import"
            if node.module == "tohum":
                yield from ((f"tohum.{alias.name}", node.lineno) for alias in node.names)
            else:
                yield node.module or "", node.lineno


def top_level(tree: ast.Module) -> Iterator[tuple[str, int]]:
    """Imports that happen when the module is imported: all but those in functions and under TYPE_CHECKING."""
    for node in tree.body:
        if isinstance(node, ast.Import | ast.ImportFrom):
            yield from imported(node)
        elif isinstance(node, ast.Try):
            yield from imported(ast.Module(body=node.body, type_ignores=[]))


def unit_of(name: str) -> str | None:
    """tohum.a.b -> a; tohum.__version__ -> tohum; another package -> None."""
    parts = name.split(".")
    if parts[0] != "tohum":
        return None
    return parts[1] if len(parts) > 1 and parts[1] in LAYERS else "tohum"


def allowed(here: str, there: str) -> bool:
    """The one rule."""
    if (here, there) == ("tohum", "handle"):  # tohum.load, which imports it when it is called
        return True
    if here == there or LAYERS[there] < LAYERS[here]:
        return there not in ("cli", "__main__") or here in ("cli", "__main__")
    both_zero = here in LAYER_ZERO and there in LAYER_ZERO
    return both_zero and LAYER_ZERO.index(there) < LAYER_ZERO.index(here)


def test_every_unit_has_a_layer():
    assert {unit for _, unit, _ in modules()} <= set(LAYERS)


def test_imports_point_to_a_lower_layer_or_stay_inside_the_unit():
    wrong = [f"{file}:{line}: {here} imports {there}" for file, here, tree in modules()
             for name, line in imported(tree) if (there := unit_of(name)) and not allowed(here, there)]
    assert not wrong, "\n".join(wrong)


def test_the_rule_refuses_upward_and_sideways_imports():
    assert not allowed("attention", "model")
    assert not allowed("training", "evaluation")
    assert not allowed("errors", "config")
    assert not allowed("quickstart", "cli")
    assert allowed("documents", "config")


def test_third_party_packages_are_imported_only_where_they_belong():
    wrong = []
    for file, unit, tree in modules():
        with_torch = unit in TORCH_FROM or (LAYERS[unit] >= 2 and unit not in ("report", "cli", "__main__"))
        may = ANYWHERE.get(unit, set()) | (PLAIN if LAYERS[unit] == 0 else set())
        may |= {"torch", "numpy", "pydantic"} if with_torch else set()
        for name, line in top_level(tree):
            root = name.split(".")[0]
            if root != "tohum" and root not in sys.stdlib_module_names and root not in may:
                wrong.append(f"{file}:{line}: {unit} imports {root}")
    assert not wrong, "\n".join(wrong)
