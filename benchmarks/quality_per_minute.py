"""How good a model is after seconds, not minutes: `python -m benchmarks.quality_per_minute` (tinyshakespeare).

    budget 80s   bits per byte that nanochat's model and optimizer reach in 240 s of training
    budget 10s   what nanoGPT's own recipe reaches in 60 s

Three seeds each, the median; bits per byte over the whole validation text. Our clock starts with the process: import,
planning and a compilation count; the final evaluation does not, as with theirs. Theirs were measured on another machine
(AVX-512, bf16), once: 2.264 and 2.963.
"""

import statistics
from typing import Any

from benchmarks.common import CORPORA, WORK, prepared, record, shown, tohum
from benchmarks.rows import row

SEEDS = (1, 2, 3)
NOTE = "the peers were measured once, on another machine (two cores with AVX-512 and bf16 arithmetic)"
GOALS = {"80s": (2.264, "nanochat, 240 s"), "10s": (2.963, "nanoGPT, 60 s")}


def main() -> None:
    """Train, and keep the medians."""
    data = prepared("tinyshakespeare", CORPORA["tinyshakespeare"], kind="char")
    runs: list[dict[str, Any]] = []
    rows = []
    for budget, (goal, peer) in GOALS.items():
        for seed in SEEDS:
            done = tohum("pretrain", "--data", data, "--budget", budget, "--seed", seed, "--out",
                         WORK / f"quality-{budget}-{seed}", "--force")
            runs.append({"budget": budget, "seed": seed} | shown(
                done, "val_bits_per_byte", "parameters", "steps", "process_seconds", "peak_memory_bytes"))
            print(runs[-1], flush=True)
        mine = [run for run in runs if run["budget"] == budget]
        rows.append(row(f"tinyshakespeare, --budget {budget}", unit="bits per byte", note=NOTE, goal=1.0,
                        ours=statistics.median(run["val_bits_per_byte"] for run in mine), peer=goal, peer_name=peer,
                        memory=max(run["peak_memory_bytes"] for run in mine)))
    record("quality_per_minute", {"rows": rows, "runs": runs})


if __name__ == "__main__":
    main()
