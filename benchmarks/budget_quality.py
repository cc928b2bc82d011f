"""`pretrain --budget 3m` on tinyshakespeare characters, three seeds: bits per byte over the whole validation text."""

import statistics

from benchmarks.common import CORPORA, WORK, prepared, record, shown, tohum

SEEDS = (1, 2, 3)


def main() -> None:
    """Train three times and record the median."""
    data = prepared("tinyshakespeare", CORPORA["tinyshakespeare"], kind="char")
    rows = []
    for seed in SEEDS:
        row = tohum("pretrain", "--data", data, "--budget", "3m", "--seed", seed, "--out",
                    WORK / f"budget-3m-{seed}", "--force")
        rows.append({"seed": seed} | shown(row, "val_bits_per_byte", "val_loss", "parameters", "steps", "tokens",
                                           "process_seconds", "peak_memory_bytes"))
        print(rows[-1], flush=True)
    median = statistics.median(row["val_bits_per_byte"] for row in rows)
    record("budget_quality", {"rows": rows, "median_bits_per_byte": median, "goal_bits_per_byte": 2.30})


if __name__ == "__main__":
    main()
