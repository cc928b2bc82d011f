"""Fine-tuning on real weights: `python -m benchmarks.finetuning [NAME …]` -> benchmarks/results/finetuning.json.

Each row is one run of the command line as a user types it, on SmolLM2-135M-Instruct (`make pretrained`) and the real
sets of ../shared/data. A row that is in the results already is not run again, so the table can be made in parts. With
`--untimed` no times are kept: for rows that run beside others, or beside other work.
"""

import json
import shutil
import sys
import time
from pathlib import Path
from typing import Any

from benchmarks.common import DATA, RESULTS, ROOT, WORK, record, tohum

from tohum.machine import cores

OUT = RESULTS / "finetuning.json"
GGUF = ROOT / ".cache" / "pretrained" / "SmolLM2-135M-Instruct.Q4_1.gguf"
SEEDS = (1, 2, 3)
SMS, AG, TR = (DATA / "classification" / name for name in (
    "sms_spam.tsv", "ag_news_test.csv", "fsmtsa_turkish_sentiment.csv"))
INSTRUCTIONS = DATA / "instruct" / "rasbt_instruction-data.json"
PREFERENCES = DATA / "preference" / "rasbt_instruction-data-with-preference.json"

# name -> the command behind `tohum finetune`; {base}, {out} and {seed} are filled in
CLASSIFY: dict[str, list[str]] = {
    "sms, natural, LoRA": ["classify", "{base}", "--data", str(SMS), "--lora-rank", "16"],
    "sms, balanced, LoRA": ["classify", "{base}", "--data", str(SMS), "--lora-rank", "16", "--balance", "undersample"],
    "sms, natural, last block": ["classify", "{base}", "--data", str(SMS), "--train", "last-block"],
    "sms, natural, head": ["classify", "{base}", "--data", str(SMS), "--train", "head", "--epochs", "20"],
    "sms, balanced, last block": ["classify", "{base}", "--data", str(SMS), "--train", "last-block", "--balance",
                                  "undersample"],
    "ag news, LoRA": ["classify", "{base}", "--data", str(AG), "--lora-rank", "16", "--steps", "80", "--set",
                      "data.fractions=[0.85, 0.05, 0.1]"],
    "turkish sentiment, LoRA": ["classify", "{base}", "--data", str(TR), "--lora-rank", "16", "--steps", "60",
                                "--max-length", "64", "--set", "data.fractions=[0.95, 0.02, 0.03]"],
}
ANSWER: dict[str, list[str]] = {
    "instructions, LoRA": ["instruct", "{base}", "--data", str(INSTRUCTIONS), "--lora-rank", "16"],
}
PREFER: dict[str, list[str]] = {
    "preferences, DPO": ["prefer", "{instructions, LoRA}", "--data", str(PREFERENCES), "--lora-rank", "16"],
}
RUNS = CLASSIFY | ANSWER | PREFER


def main(names: list[str], *, timed: bool) -> None:
    """Run what is missing, row by row."""
    base = WORK / "smollm2"
    if not base.is_dir():
        tohum("import", GGUF, "--out", base)
    for seed in SEEDS:
        for name in RUNS:
            wanted = not names or any(part in f"{name} {seed}" for part in names)
            if wanted and not any(row["name"] == name and row["seed"] == seed for row in rows_so_far()):
                row = measure(name, seed, base) | ({} if timed else {"seconds": None})
                record("finetuning", {"rows": [*rows_so_far(), row]})  # read again: others may have written


def rows_so_far() -> list[dict[str, Any]]:
    """What is in the results."""
    return json.loads(OUT.read_text("utf-8"))["rows"] if OUT.is_file() else []


def measure(name: str, seed: int, base: Path) -> dict[str, Any]:
    """One run; its figures and the seconds of the whole command."""
    out = folder(name, seed)
    shutil.rmtree(out, ignore_errors=True)
    given = {"base": str(base)} | {other: str(folder(other, seed)) for other in RUNS}
    command = [given.get(part[1:-1], part) if part.startswith("{") else part for part in RUNS[name]]
    started = time.perf_counter()
    result = tohum("finetune", *command, "--out", out, "--seed", seed)
    return {"name": name, "seed": seed, "command": shown(RUNS[name], seed),
           "seconds": round(time.perf_counter() - started, 1), "threads": cores(), "steps": result["steps"],
           "trainable_parameters": result["trainable_parameters"],
           "peak_memory_bytes": result["peak_memory_bytes"]} | figures(name, result["test"])


def shown(arguments: list[str], seed: int) -> str:
    """The command without the folders of this machine."""
    return f"tohum finetune {' '.join(arguments)} --seed {seed}".replace(str(DATA), "../shared/data")


def folder(name: str, seed: int) -> Path:
    """Of one run."""
    return WORK / "finetuning" / f"{name.replace(', ', '-').replace(' ', '-')}-{seed}"


def figures(name: str, test: dict[str, Any]) -> dict[str, Any]:
    """What the table shows."""
    if name in CLASSIFY:
        return {key: test[key] for key in ("rows", "accuracy", "macro_f1", "majority_baseline", "temperature",
                                           "expected_calibration_error", "tfidf_baseline")}
    found = {"ended_fraction": test["ended_fraction"], "gains": test["card"]["gains"],
             "forgetting": test["card"]["forgetting"], "loss": test["loss"]}
    general = test["card"]["general"]
    found["general_rise"] = general["rise"] if general else None
    return found | {key: test[key] for key in ("before", "margin", "accuracy", "preferred") if key in test}


if __name__ == "__main__":
    main([name for name in sys.argv[1:] if name != "--untimed"], timed="--untimed" not in sys.argv)
