"""What every measurement shares: the commands as a user types them, the test data, and where results are kept."""

import json
import os
import subprocess
import sys
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from tohum.environment import environment

ROOT = Path(__file__).resolve().parents[1]
RESULTS = ROOT / "benchmarks" / "results"
WORK = ROOT / ".cache" / "benchmarks"
DATA = Path(os.environ.get("TOHUM_TEST_DATA") or ROOT.parent / "shared" / "data")
CORPORA = {
    "python-docs": ["python-docs"],
    "tinyshakespeare": [str(DATA / "text_en" / "tinyshakespeare.txt")],
    "parliament-tr": [str(DATA / "text_tr" / "tbmm_tutanak_2020-10-14.txt")],
}


def tohum(*arguments: object) -> dict[str, Any]:
    """Run a verb with --json and give its object; stops the benchmark with the verb's own words if it fails."""
    command = [sys.executable, "-m", "tohum", *map(str, arguments), "--json"]
    done = subprocess.run(command, capture_output=True, text=True)
    if done.returncode:
        sys.exit(f"{' '.join(command)}\n{done.stderr[-2000:]}")
    return json.loads(done.stdout)


def prepared(name: str, sources: Sequence[str], *, kind: str = "bpe", vocab_size: int | None = None) -> Path:
    """A data folder for a corpus, made once and kept in the cache."""
    folder = WORK / f"{name}-{kind}{vocab_size or ''}"
    if not (folder / "data" / "index.json").is_file():
        size = ["--vocab-size", vocab_size] if vocab_size else []
        tohum("tokenizer", "train", *sources, "--kind", kind, *size, "--out", folder / "tokenizer", "--force")
        tohum("data", "prepare", *sources, "--tokenizer", folder / "tokenizer", "--out", folder / "data", "--force")
        tohum("plan", "--data", folder / "data", "--steps", 1)  # text statistics, kept in the folder
    return folder / "data"


def record(name: str, values: dict[str, Any]) -> None:
    """Keep a result with the machine that gave it, and print it."""
    RESULTS.mkdir(parents=True, exist_ok=True)
    whole = {"measured": time.strftime("%Y-%m-%d"), "machine": environment()} | values
    (RESULTS / f"{name}.json").write_text(json.dumps(whole, indent=1, ensure_ascii=False) + "\n", "utf-8")
    print(json.dumps(values, indent=1, ensure_ascii=False))


def expected(result: dict[str, Any], name: str, what: str) -> dict[str, float]:
    """One line of a run's outcome as `name`, `name_predicted` and `name_error`."""
    line = next(entry for entry in result["outcome"] if entry["what"] == what)
    return {name: line["measured"], f"{name}_predicted": line["predicted"],
            f"{name}_error": line["predicted"] / line["measured"] - 1}


def shown(row: dict[str, Any], *keys: str) -> dict[str, Any]:
    """Some keys of a result."""
    return {key: row[key] for key in keys}
