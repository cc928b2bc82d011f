"""Predicted against measured: three corpora by budgets of 1, 3 and 10 minutes (42 minutes of training).

The predictor's constants come from other corpora (benchmarks/calibration.py).
`python -m benchmarks.prediction_table 1m 3m` measures some budgets, `1m tinyshakespeare` one row; other rows are kept.
`python -m benchmarks.prediction_table again` measures nothing: it predicts the kept runs anew from what they knew
at the time (plan and journal), with the constants as they are now.
"""

import json
import statistics
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from benchmarks.common import CORPORA, RESULTS, WORK, expected, prepared, record, tohum

from tohum.pretraining.corpus import Statistics
from tohum.pretraining.forecast import curve_at
from tohum.pretraining.predict import Size, predict, predict_from_curve
from tohum.training.journal import read_lines

BUDGETS = ("1m", "3m", "10m")
VOCAB_SIZES = {"python-docs": 4096, "tinyshakespeare": None, "parliament-tr": 4096}
MEMORY, TIME = "peak memory", "time, from start to result"


def main() -> None:
    """Measure the budgets that were named, or all; or predict all again."""
    again = sys.argv[1:] == ["again"]
    chosen = [] if again else runs(sys.argv[1:])
    rows = [row_of(row["corpus"], row["budget"]) for row in kept(chosen)]
    for corpus, budget in chosen:
        tohum("pretrain", "--data", data_of(corpus), "--budget", budget, "--out", run_of(corpus, budget), "--force")
        rows.append(row_of(corpus, budget))
        print(rows[-1], flush=True)
        record("prediction_table", summary(rows))
    if again:
        record("prediction_table", summary(rows))


def runs(named: Sequence[str]) -> list[tuple[str, str]]:
    """Corpus and budget of each run: of those that are named, all where none is."""
    if unknown := set(named) - {*BUDGETS, *CORPORA}:
        sys.exit(f"neither a budget nor a corpus: {', '.join(unknown)}; there are {', '.join([*BUDGETS, *CORPORA])}")
    budgets, corpora = ([name for name in of if name in named] or list(of) for of in (BUDGETS, CORPORA))
    return [(corpus, budget) for budget in budgets for corpus in corpora]


def data_of(corpus: str) -> Path:
    """The corpus' data folder."""
    size = VOCAB_SIZES[corpus]
    return prepared(corpus, CORPORA[corpus], kind="bpe" if size else "char", vocab_size=size)


def run_of(corpus: str, budget: str) -> Path:
    """Where its run is kept."""
    return WORK / f"table-{corpus}-{budget}"


def kept(again: Sequence[tuple[str, str]]) -> list[dict[str, Any]]:
    """Earlier rows that are not measured now."""
    path = RESULTS / "prediction_table.json"
    if not path.is_file():
        return []
    return [row for row in json.loads(path.read_text("utf-8"))["rows"] if (row["corpus"], row["budget"]) not in again]


def row_of(corpus: str, budget: str) -> dict[str, Any]:
    """One row from a finished run: what was expected, what came."""
    run = run_of(corpus, budget)
    result, plan = (json.loads((run / name).read_text("utf-8")) for name in ("result.json", "plan.json"))
    index = json.loads((data_of(corpus) / "index.json").read_text("utf-8"))
    train = [source["train"] for source in index["sources"]]
    unique, tokens = (sum(part[key] for part in train) for key in ("text_bytes", "tokens"))
    size = Size(parameters=result["parameters"], bytes_unique=unique,
                bytes_seen=plan["steps"] * plan["batch_tokens"] * unique / tokens)
    before = predict(Statistics(**json.loads((data_of(corpus) / "statistics.json").read_text("utf-8"))), size)
    curve = curve_at(0.25, plan["steps"], read_lines(run / "metrics.jsonl"))
    assert curve is not None
    quarter = predict_from_curve(curve, before)
    measured = result["val_bits_per_byte"]
    return {"corpus": corpus, "budget": budget, "parameters": result["parameters"], "planned_steps": plan["steps"],
            "steps": result["steps"], "measured": measured, "before": before.bits_per_byte, "low": before.low,
            "high": before.high, "before_error": before.bits_per_byte / measured - 1,
            "inside": before.low <= measured <= before.high, "quarter": quarter.bits_per_byte,
            "quarter_error": quarter.bits_per_byte / measured - 1} \
        | expected(result, "seconds", TIME) | expected(result, "memory", MEMORY)


def summary(rows: list[dict[str, Any]]) -> dict[str, Any]:
    """The figures that the docs quote, rows by budget and corpus."""
    rows = sorted(rows, key=lambda row: (BUDGETS.index(row["budget"]), list(CORPORA).index(row["corpus"])))
    return {"rows": rows, "median_error_before": statistics.median(abs(row["before_error"]) for row in rows),
            "inside_interval": f"{sum(row['inside'] for row in rows)} of {len(rows)}",
            "errors_at_a_quarter": sorted(abs(row["quarter_error"]) for row in rows),
            "largest_time_error": max(abs(row["seconds_error"]) for row in rows),
            "largest_memory_error": max(abs(row["memory_error"]) for row in rows)}


if __name__ == "__main__":
    main()
