"""How good a model is after seconds, not minutes: `python -m benchmarks.quality_per_minute` (tinyshakespeare).

    budget 80s   bits per byte that nanochat's model and optimizer reach in 240 s of training
    budget 10s   what nanoGPT's own recipe reaches in 60 s

Three seeds each, the median; bits per byte over the whole validation text. Our clock starts with the process: import,
planning and a compilation count; the final evaluation does not, as with theirs, so the budget that is asked for is that
much longer, and `clock_seconds` says when the last step was done. Theirs were measured on another machine (AVX-512),
once: 2.264 and 2.963.
"""

import json
import statistics
from pathlib import Path
from typing import Any

from benchmarks.common import CORPORA, WORK, prepared, record, shown, tohum
from benchmarks.rows import row

SEEDS = (1, 2, 3)
NOTE = "the peers were measured once, on another machine (two cores with AVX-512 and bf16 arithmetic)"
GOALS = {80.0: (2.264, "nanochat, 240 s"), 10.0: (2.963, "nanoGPT, 60 s")}  # by seconds on the clock
CLOSING_SECONDS = 1.5  # evaluation, report


def clock_seconds(run: Path, process_seconds: float) -> float:
    """Seconds from the start of the process to the end of the last step (the report's own time is left in)."""
    lines = [json.loads(line) for line in (run / "metrics.jsonl").read_text("utf-8").splitlines()]
    last = max(line["seconds"] for line in lines if line["kind"] == "step")
    end = next(line["seconds"] for line in lines if line.get("event") == "finished")
    return process_seconds - (end - last)


def main() -> None:
    """Train, and keep the medians."""
    data = prepared("tinyshakespeare", CORPORA["tinyshakespeare"], kind="char")
    runs: list[dict[str, Any]] = []
    rows = []
    for seconds, (goal, peer) in GOALS.items():
        for seed in SEEDS:
            out = WORK / f"quality-{seconds:.0f}-{seed}"
            done = tohum("pretrain", "--data", data, "--budget", f"{seconds + CLOSING_SECONDS}s", "--seed", seed,
                         "--out", out, "--force")
            runs.append({"seconds": seconds, "seed": seed} | shown(
                done, "val_bits_per_byte", "parameters", "steps", "process_seconds", "peak_memory_bytes")
                | {"clock_seconds": clock_seconds(out, done["process_seconds"])})
            print(runs[-1], flush=True)
        mine = [run for run in runs if run["seconds"] == seconds]
        rows.append(row(f"tinyshakespeare characters, {seconds:.0f} s from the start of the process",
                        unit="bits per byte", note=NOTE, goal=1.0, peer=goal, peer_name=peer,
                        ours=statistics.median(run["val_bits_per_byte"] for run in mine),
                        memory=max(run["peak_memory_bytes"] for run in mine)))
    record("quality_per_minute", {"rows": rows, "runs": runs})


if __name__ == "__main__":
    main()
