"""Results -> docs/performance.md: `python -m benchmarks.performance_page` after any measurement.

Every result under benchmarks/results whose rows have the form of benchmarks/rows.py is a part of the table; the page
holds nothing that is not in them.
"""

import json
from collections.abc import Mapping, Sequence
from typing import Any

from benchmarks.common import RESULTS, ROOT

PAGE = ROOT / "docs" / "performance.md"
ORDER = ("train_step", "lora_step", "classifier_speed", "decode_speed", "prepare_speed", "bpe_training", "start",
         "quality_per_minute")
TITLES = {"train_step": "Training", "lora_step": "Fine-tuning", "classifier_speed": "Classifiers",
          "decode_speed": "Generation", "prepare_speed": "Data", "bpe_training": "Tokenizers", "start": "Start",
          "quality_per_minute": "Quality for the time"}
HEAD = ["| what | ours | peer | ratio | goal | memory, ours / peer | share of the machine's limit |",
        "|---|---|---|---|---|---|---|"]
OPENING = """# Performance: measured, in one run, beside the peers

Written by `python -m benchmarks.performance_page` from `benchmarks/results`; `make bench` measures everything anew,
`python -m benchmarks NAME` one part. Both sides do the same work on the same machine in turn, and the median counts:
**compare ratios, not seconds**, for a machine drifts by a fifth within minutes. A ratio is ours / peer; for rates it
should be at least the goal, for times and bits at most. What falls short is marked with ✗ and stays in the table. The
peer is the fastest of those that were asked, its memory that of the leanest of them. Where a peer's figure is not of
the same run, a note says so.

The limit is what this machine can do at most, measured in the same run: its fastest matrix product for training and
for prompts (in the format named), the rate at which it reads memory for decoding, where every weight is read for
every token. `python -m benchmarks --check NAME` measures again and fails where a ratio fell by more than a fifth.
"""
Row = Mapping[str, Any]


def main() -> None:
    """Write the page."""
    PAGE.write_text(page(), "utf-8")
    print(PAGE.relative_to(ROOT))


def page() -> str:
    """The whole text."""
    parts = [OPENING]
    for name in ORDER:
        if rows := rows_of(name):
            result = json.loads((RESULTS / f"{name}.json").read_text("utf-8"))
            days = " and ".join(sorted({row.get("measured", result["measured"]) for row in rows}))
            parts.append("\n".join([f"## {TITLES[name]}", "", f"`python -m benchmarks {name}`, {days}, "
                                    f"{machine(result['machine'])}.", *left_out(result), *notes(rows), "", *HEAD,
                                    *map(line, rows)]) + "\n")
    if (RESULTS / "cost_over_size.json").is_file():
        parts.append(costs(json.loads((RESULTS / "cost_over_size.json").read_text("utf-8"))))
    return "\n".join(parts)


def rows_of(name: str) -> list[Row]:
    """The rows of a result in the common form; none where it was not measured."""
    path = RESULTS / f"{name}.json"
    rows = json.loads(path.read_text("utf-8")).get("rows", []) if path.is_file() else []
    return [row for row in rows if {"row", "unit", "ours", "ratio"} <= set(row)]


def machine(environment: Row) -> str:
    """Processor, cores, torch."""
    cpu = environment["cpu"]
    able = "bf16" if {"avx512_bf16", "amx_bf16"} & set(cpu["flags"]) else "no bf16 arithmetic"
    return f"{cpu['model']}, {cpu['cores']} cores ({able}), torch {environment['packages']['torch']}"


def left_out(result: Row) -> list[str]:
    """What could not be measured there."""
    return [f"Left out: {'; '.join(result['left_out'])}."] if result.get("left_out") else []


def notes(rows: Sequence[Row]) -> list[str]:
    """What a reader of the rows has to know."""
    return [f"Note: {note}." for note in dict.fromkeys(row["note"] for row in rows if row.get("note"))]


def line(row: Row) -> str:
    """One row of the table."""
    peer = "" if row["peer"] is None else f"{written(row['peer'])} ({row['peer_name']})"
    ratio = "" if row["ratio"] is None else f"{row['ratio']:.2f}"
    return "| " + " | ".join([row["row"] + ("; same text" if row.get("same_text") else ""),
                              f"{written(row['ours'])} {row['unit']}", peer, ratio + verdict(row), goal(row),
                              memories(row), share(row)]) + " |"


def goal(row: Row) -> str:
    """What it should be."""
    if row["goal"] is None:
        return "" if "limit" not in row or row["ratio"] is not None else f"≤ {written(row['limit'])} {row['unit']}"
    return f"{'≤' if falls(row) else '≥'} {row['goal']:g}"


def verdict(row: Row) -> str:
    """✗ where the goal is missed."""
    if row["ratio"] is None:
        return " ✗" if falls(row) and "limit" in row and row["ours"] > row["limit"] else ""
    if row["goal"] is None:
        return ""
    return " ✗" if (row["ratio"] > row["goal"] if falls(row) else row["ratio"] < row["goal"]) else ""


def falls(row: Row) -> bool:
    """Whether less is better."""
    return row["unit"] in ("s", "bytes", "bits per byte")


def memories(row: Row) -> str:
    """Gigabytes of both, and what the ratio should be where that is a goal."""
    mine, peer = row["peak_memory_bytes"], row["peer_peak_memory_bytes"]
    if mine is None:
        return ""
    if peer is None:
        return f"{mine / 1e9:.2f} GB"
    wanted = row.get("memory_goal")
    mark = "" if wanted is None else f", ≤ {wanted:g}" + (" ✗" if mine / peer > wanted else "")
    return f"{mine / 1e9:.2f} / {peer / 1e9:.2f} GB ({mine / peer:.2f}{mark})"


def share(row: Row) -> str:
    """Of the machine's limit."""
    if "share_of_limit" not in row:
        return ""
    return f"{row['share_of_limit']:.0%} ({row.get('limit_format', 'limit')})"


def costs(result: Row) -> str:
    """Plots and exponents."""
    lines = ["## What size costs", "", f"`python -m benchmarks cost_over_size`, {result['measured']}, "
             f"{machine(result['machine'])}. One dial at a time around depth 6, windows of 256 tokens, 8 windows a "
             "step, 10 MB of text.", "", "| dial | time per token grows as | memory grows as | bends |",
             "|---|---|---|---|"]
    for dial, found in result["exponents"].items():
        bends = [f"{name} at {found[name]['bends_at']:g}" for name in ("time", "memory") if found[name]["bends_at"]]
        unit = result["units"][dial]
        lines.append(f"| {dial}: {unit} | size^{found['time']['exponent']:.2f} | "
                     f"size^{found['memory']['exponent']:.2f} | {', '.join(bends) or 'nowhere'} |")
    pictures = [f"![{dial}: rate and memory over size](images/cost-{dial}.svg)" for dial in result["exponents"]]
    return "\n".join([*lines, "", *pictures]) + "\n"


def written(value: float) -> str:
    """Three figures."""
    return f"{value:,.0f}" if value >= 100 else f"{value:.3g}"


def changes(before: Sequence[Row], after: Sequence[Row], tolerance: float) -> list[str]:
    """Ratios that became worse by more than the tolerance; a row that is missing is one of them."""
    now = {row["row"]: row["ratio"] for row in after}
    found = []
    for row in before:
        if row["ratio"] is None:
            continue
        if now.get(row["row"]) is None:
            found.append(f"{row['row']}: no longer measured")
            continue
        moved = now[row["row"]] / row["ratio"]
        if (moved > 1 + tolerance) if falls(row) else (moved < 1 - tolerance):
            found.append(f"{row['row']}: {row['ratio']:.2f} of {row['peer_name']} before, {now[row['row']]:.2f} now")
    return found


if __name__ == "__main__":
    main()
