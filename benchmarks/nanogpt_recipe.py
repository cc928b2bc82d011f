"""nanoGPT's CPU recipe on tinyshakespeare characters, three seeds: nats per character over the whole validation text.

nanoGPT itself, measured on the same text in the same way: 1.898.
"""

import statistics

from benchmarks.common import CORPORA, ROOT, WORK, prepared, record, shown, tohum

SEEDS = (1, 2, 3)


def main() -> None:
    """Train three times and record the mean."""
    data = prepared("tinyshakespeare", CORPORA["tinyshakespeare"], kind="char")
    rows = []
    for seed in SEEDS:
        row = tohum("pretrain", "--data", data, "--config", ROOT / "configs" / "nanogpt-cpu.toml", "--seed", seed,
                    "--out", WORK / f"nanogpt-{seed}", "--force")
        rows.append({"seed": seed} | shown(row, "val_loss", "val_bits_per_byte", "seconds", "tokens_per_second"))
        print(rows[-1], flush=True)
    record("nanogpt_recipe", {"rows": rows, "mean_val_loss_nats": statistics.mean(row["val_loss"] for row in rows),
                              "goal_nats": 1.91, "nanogpt_nats": 1.898})


if __name__ == "__main__":
    main()
