"""Runs that the predictor is fitted on: corpora that no reported table uses, several budgets.

`python -m benchmarks.calibration 1m` adds the runs of a budget to benchmarks/results/calibration.json;
`python -m benchmarks.fit_predictor` then prints the constants for src/tohum/pretraining/constants.py.
"""

import json
import math
import sys
from pathlib import Path
from typing import Any

from benchmarks.common import DATA, RESULTS, WORK, prepared, record, tohum

from tohum.training.journal import read_lines

EN, TR = DATA / "text_en", DATA / "text_tr"
CORPORA: dict[str, tuple[list[str], str, int | None]] = {
    "wikitext": ([str(EN / "wikitext-2-raw.valid.txt")], "bpe", 4096),
    "wikitext-characters": ([str(EN / "wikitext-2-raw.valid.txt")], "char", None),
    "wiki-demo": ([str(EN / "wiki_demo.txt")], "bpe", 4096),
    "web": ([str(EN / "c4_demo.jsonl")], "bpe", 4096),
    "python-source": (["python-source"], "bpe", 4096),
    "libreoffice-tr": ([str(TR / "libreoffice_help_tr.txt")], "bpe", 4096),
    "python-docs-tr": ([str(TR / "python_docs_tr.txt")], "bpe", 4096),
    "taylorswift-characters": ([str(EN / "taylorswift.txt")], "char", None),
}


def main() -> None:
    """Measure the named budgets on the named corpora (all unless told)."""
    budgets = [a for a in sys.argv[1:] if a not in CORPORA]
    corpora = [a for a in sys.argv[1:] if a in CORPORA] or list(CORPORA)
    path = RESULTS / "calibration.json"
    rows = json.loads(path.read_text("utf-8"))["rows"] if path.is_file() else []
    for budget in budgets:
        for name in corpora:
            sources, kind, size = CORPORA[name]
            data = prepared(name, sources, kind=kind, vocab_size=size)
            run = WORK / f"calibration-{name}-{budget}"
            result = tohum("pretrain", "--data", data, "--budget", budget, "--out", run, "--force")
            rows = [row for row in rows if (row["corpus"], row["budget"]) != (name, budget)]
            rows.append({"corpus": name, "budget": budget} | observed(run, data, result))
            print(rows[-1], flush=True)
            record("calibration", {"rows": rows})


def observed(run: Path, data: Path, result: dict[str, Any]) -> dict[str, Any]:
    """What the fit needs of one run."""
    plan = json.loads((run / "plan.json").read_text("utf-8"))
    index = json.loads((data / "index.json").read_text("utf-8"))
    train = [source["train"] for source in index["sources"]]
    per_token = sum(part["text_bytes"] for part in train) / sum(part["tokens"] for part in train)
    steps = [line for line in read_lines(run / "metrics.jsonl") if line["kind"] == "step"]
    return {"bits_per_byte": result["val_bits_per_byte"], "parameters": result["parameters"],
            "steps": result["steps"], "planned_steps": plan["steps"], "tokens": result["tokens"],
            "size": {"parameters": result["parameters"], "tokens": result["tokens"],
                     "bytes_seen": result["tokens"] * per_token,
                     "bytes_unique": sum(part["text_bytes"] for part in train)},
            "statistics": json.loads((data / "statistics.json").read_text("utf-8")),
            "curve": {str(f): window(steps, f, plan["steps"]) / math.log(2) / per_token for f in (0.1, 0.25)},
            "process_seconds": result["process_seconds"]}


def window(steps: list[dict[str, Any]], fraction: float, planned: int) -> float:
    """Mean training loss over the steps that the forecast looks at (pretraining/forecast.py)."""
    end, length = max(2, round(fraction * planned)), max(4, round(0.04 * planned))
    losses = [line["loss"] for line in steps if end - length < line["step"] <= end]
    return sum(losses) / len(losses)


if __name__ == "__main__":
    main()
