"""Predicted against measured: three corpora by budgets of 1, 3 and 10 minutes (42 minutes of training).

The predictor's constants come from other corpora (benchmarks/calibration.py).
`python -m benchmarks.prediction_table 1m 3m` measures some budgets; rows of other budgets are kept.
"""

import json
import statistics
import sys
from typing import Any

from benchmarks.common import CORPORA, RESULTS, WORK, prepared, record, tohum

BUDGETS = ("1m", "3m", "10m")
VOCAB_SIZES = {"python-docs": 4096, "tinyshakespeare": None, "parliament-tr": 4096}


def main() -> None:
    """Measure the budgets that were named, or all."""
    budgets = sys.argv[1:] or BUDGETS
    rows = kept(set(budgets))
    for budget in budgets:
        for corpus, sources in CORPORA.items():
            size = VOCAB_SIZES[corpus]
            data = prepared(corpus, sources, kind="bpe" if size else "char", vocab_size=size)
            result = tohum("pretrain", "--data", data, "--budget", budget, "--out", WORK / f"table-{corpus}-{budget}",
                           "--force")
            rows.append(row_of(corpus, budget, result))
            print(rows[-1], flush=True)
            record("prediction_table", summary(rows))


def kept(again: set[str]) -> list[dict[str, Any]]:
    """Earlier rows of budgets that are not measured now."""
    path = RESULTS / "prediction_table.json"
    if not path.is_file():
        return []
    return [row for row in json.loads(path.read_text("utf-8"))["rows"] if row["budget"] not in again]


def row_of(corpus: str, budget: str, result: dict[str, Any]) -> dict[str, Any]:
    """One row: what was expected, what came."""
    by_name = {entry["what"]: entry for entry in result["outcome"]}
    before, quarter = by_name["bits per byte, before step 0"], by_name["bits per byte, at 25% of the run"]
    time, memory = by_name["time, from start to result"], by_name["peak memory"]
    return {"corpus": corpus, "budget": budget, "parameters": result["parameters"], "steps": result["steps"],
            "measured": before["measured"], "before": before["predicted"], "low": before["low"],
            "high": before["high"], "before_error": before["predicted"] / before["measured"] - 1,
            "inside": before["low"] <= before["measured"] <= before["high"], "quarter": quarter["predicted"],
            "quarter_error": quarter["predicted"] / quarter["measured"] - 1,
            "seconds": time["measured"], "predicted_seconds": time["predicted"],
            "time_error": time["predicted"] / time["measured"] - 1, "memory": memory["measured"],
            "predicted_memory": memory["predicted"], "memory_error": memory["predicted"] / memory["measured"] - 1}


def summary(rows: list[dict[str, Any]]) -> dict[str, Any]:
    """The figures that the docs quote."""
    return {"rows": rows, "median_error_before": statistics.median(abs(row["before_error"]) for row in rows),
            "inside_interval": f"{sum(row['inside'] for row in rows)} of {len(rows)}",
            "largest_error_at_a_quarter": max(abs(row["quarter_error"]) for row in rows),
            "largest_time_error": max(abs(row["time_error"]) for row in rows),
            "largest_memory_error": max(abs(row["memory_error"]) for row in rows)}


if __name__ == "__main__":
    main()
