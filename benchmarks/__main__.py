"""All measurements that the docs quote: `python -m benchmarks` runs them, `python -m benchmarks NAME …` some.

NAME is a measurement, or "NAME PART" in quotes one of its parts. They take minutes each and want the machine for
themselves. Results are kept under benchmarks/results/, the page docs/performance.md is written anew. `--check` compares
instead: exit code 1 where a ratio to a peer fell by more than a fifth of what is recorded, and the record stays as it
is. Seconds are never compared.
"""

import runpy
import sys

from benchmarks import performance_page
from benchmarks.common import RESULTS

MEASUREMENTS = ("train_step a", "train_step b", "lora_step lora", "lora_step full", "classifier_speed speed",
                "classifier_speed accuracy", "decode_speed", "prepare_speed", "bpe_training", "start",
                "quality_per_minute", "cost_over_size", "nanogpt_recipe", "budget_quality", "kill_test", "turkish",
                "finish_time", "prediction_table")
HOURS = ("finetuning",)  # only by name; goes on where it was
TOLERANCE = 0.2  # machines drift by as much within minutes


def main() -> None:
    """Run the named measurements, or all."""
    checking = "--check" in sys.argv
    named = [name for name in sys.argv[1:] if name != "--check"]
    every = [name for name in MEASUREMENTS if not checking or rows_of(name)]
    if unknown := [name for name in named if not parts_of(name)]:
        sys.exit(f"no measurement '{unknown[0]}'; choose from {', '.join(MEASUREMENTS + HOURS)}")
    chosen = [part for name in named for part in parts_of(name)] or every
    worse = [problem for name in chosen for problem in run(name, checking=checking)]
    if not checking:
        performance_page.main()
    if worse:
        sys.exit("\n".join(worse))


def module_of(name: str) -> str:
    """The file that measures it, and the result."""
    return name.split()[0]


def parts_of(name: str) -> list[str]:
    """A measurement's parts, or the one that is named."""
    return [part for part in MEASUREMENTS + HOURS if name in (part, module_of(part))]


def rows_of(part: str) -> list[performance_page.Row]:
    """The recorded rows of a measurement, or of the part that is named."""
    name, *parts = part.split()
    return [row for row in performance_page.rows_of(name) if row.get("part", "") in (parts or [""])]


def run(part: str, *, checking: bool) -> list[str]:
    """One measurement; what became worse, when that is asked."""
    print(f"== {part}", flush=True)
    name = module_of(part)
    path = RESULTS / f"{name}.json"
    kept, before = path.read_bytes() if path.is_file() else None, rows_of(part)
    if checking and not before:
        sys.exit(f"{part} has no ratio on record to compare with")
    sys.argv = part.split()  # a measurement reads its own options
    try:
        runpy.run_module(f"benchmarks.{name}", run_name="__main__")
        return performance_page.changes(before, rows_of(part), TOLERANCE) if checking else []
    finally:
        if checking and kept is not None:
            path.write_bytes(kept)


if __name__ == "__main__":
    main()
