"""Ten SIGKILLs at random moments in one run, a new checkpoint between any two: the weights' SHA-256 must not change.

In fp32, in bf16, compiled, and from the resolved config.toml of a --budget run; two micro-batches per step, so that
kills fall inside an accumulation too.
"""

from pathlib import Path

from benchmarks.common import CORPORA, WORK, prepared, record, tohum

KILLS, STEPS = 10, 220
SMALL = ["data.max_length=64", "training.batch_tokens=256", "training.micro_batch=2", "model.dropout=0.1"]
VARIANTS = {"fp32": ["training.dtype=fp32", "training.compile=false"],
            "bf16": ["training.dtype=bf16", "training.compile=false"],
            "compiled": ["training.compile=true"]}


def main() -> None:
    """Make a run of each variant, then let `verify-resume` kill it."""
    data = prepared("tinyshakespeare", CORPORA["tinyshakespeare"], kind="char")
    rows = []
    for name, settings in VARIANTS.items():
        run = WORK / f"kill-{name}"
        options = [part for setting in (*SMALL, *settings) for part in ("--set", setting)]
        tohum("pretrain", "--data", data, "--depth", 1, "--steps", 4, *options, "--out", run, "--force")
        rows.append(verified(name, run))
    run = WORK / "kill-budget"
    tohum("pretrain", "--data", data, "--budget", "15s", "--out", run, "--force")
    rows.append(verified("config.toml of --budget 15s", run))
    record("kill_test", {"rows": rows, "all_identical": all(row["identical"] for row in rows)})


def verified(name: str, run: Path) -> dict[str, object]:
    """One row of the table."""
    row = {"variant": name} | tohum("verify-resume", run, "--steps", STEPS, "--kills", KILLS, "--seed", 7)
    print(row, flush=True)
    return row


if __name__ == "__main__":
    main()
