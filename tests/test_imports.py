"""Importing does no work: no optional package, no torch for help, no output."""

import importlib.util
import json
import os
import subprocess
import sys
import time
import tomllib
from pathlib import Path

import pytest

from tohum.cli.main import COMMANDS

ROOT = Path(__file__).resolve().parents[1]
OPTIONAL = ("pyarrow", "zstandard", "matplotlib", "sentencepiece", "google.protobuf", "transformers", "tiktoken",
            "huggingface_hub", "hypothesis", "playwright", "sklearn", "pandas")

IMPORT_ALL = """
import importlib, json, os, pkgutil, sys

class Absent:
    def find_spec(self, name, path=None, target=None):
        if name in BLOCKED or name.split(".")[0] in BLOCKED:
            raise ModuleNotFoundError(f"No module named {name!r}", name=name)

BLOCKED = set(json.loads(sys.argv[1]))
sys.meta_path.insert(0, Absent())
before = dict(os.environ)
import tohum
names = [found.name for found in pkgutil.walk_packages(tohum.__path__, "tohum.") if found.name != "tohum.__main__"]
for name in names:
    importlib.import_module(name)
changed = sorted(key for key in before.keys() | os.environ.keys() if before.get(key) != os.environ.get(key))
import torch
print(json.dumps({"modules": len(names), "changed": changed, "threads": torch.get_num_threads(),
                  "loaded": sorted(sys.modules)}))
"""

SHOW_HELP = """
import sys
from tohum.cli.main import cli
try:
    cli.main(sys.argv[1:], standalone_mode=False, prog_name="tohum")
finally:
    print("LOADED", *sorted({name.split(".")[0] for name in sys.modules}))
"""


def python(code: str, *arguments: str, **environment: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run([sys.executable, "-c", code, *arguments], capture_output=True, text=True, timeout=120,
                          env=os.environ | environment, cwd=ROOT)


def test_every_module_imports_with_only_the_core_dependencies_and_changes_nothing():
    done = python(IMPORT_ALL, json.dumps(OPTIONAL), OMP_NUM_THREADS="1")
    assert done.returncode == 0, done.stderr[-2000:]
    found = json.loads(done.stdout)
    assert found["modules"] > 50
    assert found["changed"] in ([], ["TORCHINDUCTOR_CACHE_DIR"]), "importing changed the environment"
    assert found["threads"] == 1
    assert not set(OPTIONAL) & set(found["loaded"])
    assert done.stderr == ""


def test_core_dependencies_are_those_that_the_project_declares():
    declared = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    names = {spec.split(">")[0].split("=")[0] for spec in declared["dependencies"]}
    assert not names & set(OPTIONAL)
    assert "torch" in names


def test_every_dependency_is_pinned_and_no_pin_is_a_path():
    declared = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    wanted = {spec for specs in (declared["dependencies"], *declared["optional-dependencies"].values())
              for spec in specs if not spec.startswith("tohum")}
    pins = [line for line in (ROOT / "constraints" / "cpu.txt").read_text().splitlines() if line]
    names = {pin.partition("==")[0].lower().replace("_", "-") for pin in pins}
    assert all(pin.count("==") == 1 and "/" not in pin and "@" not in pin for pin in pins)
    assert "torch==2.13.0" in pins
    missing = [spec for spec in wanted if spec.split(">")[0].split("=")[0].lower().replace("_", "-") not in names]
    assert not missing


@pytest.mark.parametrize("arguments", [["--help"], *([verb, "--help"] for verb in COMMANDS)], ids=" ".join)
def test_help_imports_neither_torch_nor_numpy(arguments):
    done = python(SHOW_HELP, *arguments)
    assert done.returncode == 0, done.stderr
    text, _, loaded = done.stdout.rpartition("LOADED")
    assert "Usage: tohum" in text
    assert not {"torch", "numpy", "tokenizers", "pydantic"} & set(loaded.split())


@pytest.mark.slow
def test_help_answers_at_once():
    """200 ms on an idle machine; a loaded one gets five times as much, so that only a real import fails this."""
    seconds = []
    for _ in range(7):
        started = time.perf_counter()
        subprocess.run([sys.executable, "-m", "tohum", "--help"], check=True, capture_output=True)
        seconds.append(time.perf_counter() - started)
    assert sorted(seconds)[3] < 1.0


def test_the_package_is_found_where_it_is_tested():
    spec = importlib.util.find_spec("tohum")
    assert spec is not None
    assert Path(str(spec.origin)).is_relative_to(ROOT / "src")


def test_a_run_that_compiles_nothing_does_not_load_the_compiler(tmp_path):
    code = ("import sys; from tohum.cli.main import cli\nfor arguments in ({}, {}, {}):\n"
            "    cli.main(arguments, standalone_mode=False)\n"
            "print([name for name in ('torch._dynamo', 'torch._inductor', 'sympy') if name in sys.modules])")
    text = tmp_path / "text.txt"
    text.write_text("A seed waits under the snow. " * 400)
    learn = ["tokenizer", "train", str(text), "--kind", "char", "--out", str(tmp_path / "words")]
    prepare = ["data", "prepare", str(text), "--tokenizer", str(tmp_path / "words"), "--out", str(tmp_path / "data")]
    train = ["pretrain", "--data", str(tmp_path / "data"), "--depth", "1", "--steps", "3", "--out", str(tmp_path / "run")]
    done = python(code.format(learn, prepare, train))
    assert done.stdout.splitlines()[-1] == "[]", done.stderr[-2000:]
