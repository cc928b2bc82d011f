"""Results of fine-tuning on real weights -> the tables in docs/09-classification.md and docs/10-instructions.md.

`python -m benchmarks.finetuning_table` after `python -m benchmarks.finetuning`. A figure is the mean over the seeds
that are there, with the smallest and the largest.
"""

import json
from collections.abc import Callable, Mapping, Sequence
from typing import Any

from benchmarks.common import RESULTS, ROOT

DOCS = ROOT / "docs"
PAGES = {"classify": DOCS / "09-classification.md", "answers": DOCS / "10-instructions.md"}
CLASSIFY_HEAD = ["| set, what is trained | accuracy | macro-F1 | TF-IDF | always one | calibration error | time |",
                 "|---|---|---|---|---|---|---|"]
ANSWERS_HEAD = ["| what is tuned | token F1 | chrF | answers that end | bits per byte of general text "
                "| rewards in order | chosen likelier | time |", "|---|---|---|---|---|---|---|---|"]
Row = Mapping[str, Any]


def main() -> None:
    """Write both tables."""
    rows = json.loads((RESULTS / "finetuning.json").read_text("utf-8"))["rows"]
    for name, lines in tables(rows).items():
        PAGES[name].write_text(replaced(PAGES[name].read_text("utf-8"), name, lines), "utf-8")
        print("\n".join([str(PAGES[name].relative_to(ROOT)), *lines]))


def replaced(page: str, name: str, lines: Sequence[str]) -> str:
    """The page with other lines between its marks."""
    begin, end = f"<!-- finetuning: {name} -->", "<!-- /finetuning -->"
    before, rest = page.split(begin)
    return f"{before}{begin}\n" + "".join(f"{line}\n" for line in lines) + end + rest.split(end, 1)[1]


def tables(rows: Sequence[Row]) -> dict[str, list[str]]:
    """Lines of each table; only its marks where nothing was measured."""
    runs: dict[str, list[Row]] = {}
    for row in rows:
        runs.setdefault(row["name"], []).append(row)
    lines: dict[str, list[str]] = {"classify": [], "answers": []}
    for name, seeds in runs.items():
        if "macro_f1" in seeds[0]:
            lines["classify"].append(class_line(name, seeds))
        else:
            lines["answers"].append(answer_line(name, seeds))
    heads = {"classify": CLASSIFY_HEAD, "answers": ANSWERS_HEAD}
    return {name: [*heads[name], *found] if found else [] for name, found in lines.items()}


def class_line(name: str, seeds: Sequence[Row]) -> str:
    """One classifier."""
    return "| " + " | ".join([
        f"{name}, {len(seeds)} seed{'s' * (len(seeds) > 1)}", spread([row["accuracy"] for row in seeds], percent),
        spread([row["macro_f1"] for row in seeds], "{:.3f}".format),
        spread([row["tfidf_baseline"]["accuracy"] for row in seeds if "accuracy" in row["tfidf_baseline"]], percent),
        spread([row["majority_baseline"] for row in seeds], percent),
        spread([row["expected_calibration_error"] for row in seeds], "{:.3f}".format), time_of(seeds)]) + " |"


def answer_line(name: str, seeds: Sequence[Row]) -> str:
    """One assistant."""
    scores = [" → ".join(spread([row["gains"][score][when] for row in seeds], write.format)
                         for when in ("before", "after"))
              for score, write in (("token_f1", "{:.3f}"), ("chrf", "{:.1f}"))]
    preferred = [row for row in seeds if "preferred" in row]
    pairs = " → ".join(spread(values, percent) for values in (
        [row["before"]["preferred"] for row in preferred], [row["preferred"] for row in preferred]))
    return "| " + " | ".join([
        f"{name}, {len(seeds)} seed{'s' * (len(seeds) > 1)}",
        *scores,
        spread([row["ended_fraction"] for row in seeds], percent),
        spread([row["general_rise"]["value"] for row in seeds if row["general_rise"]], "{:+.1%}".format),
        spread([row["accuracy"] for row in preferred], percent), pairs if preferred else "", time_of(seeds)]) + " |"


def spread(values: Sequence[float], write: Callable[[float], str]) -> str:
    """0.98 (0.97 to 0.99); one value alone where they are all written the same; nothing for none."""
    if not values:
        return ""
    mean, low, high = write(sum(values) / len(values)), write(min(values)), write(max(values))
    return mean if low == high else f"{mean} ({low} to {high})"


def percent(value: float) -> str:
    """98.2 %."""
    return f"{100 * value:.1f} %"


def time_of(seeds: Sequence[Row]) -> str:
    """Of the whole command."""
    measured = [row["seconds"] / 60 for row in seeds if row["seconds"] is not None]  # None: beside other work
    return spread(measured, "{:.1f} min".format) if measured else "not timed"


if __name__ == "__main__":
    main()
