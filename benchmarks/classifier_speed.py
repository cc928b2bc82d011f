"""Training a classifier against transformers' Trainer: `python -m benchmarks.classifier_speed [speed|accuracy]`.

SMS spam on SmolLM2-135M-Instruct, LoRA of rank 16 on all linears, 16 rows a step, the same rate, training and test
rows. Ours is `tohum finetune classify`; theirs Trainer with peft and its default padding (every batch to its longest
row).

    speed       10 steps, training alone, five rounds in alternation
    accuracy    over the same test rows after 48 steps, once each

The row that is not named stays as it is.
"""

import argparse
import csv
import json
import subprocess
import sys
from pathlib import Path
from statistics import median
from typing import Any

from benchmarks.common import DATA, ROOT, WORK, record, tohum
from benchmarks.rows import merged, row

from tohum.classification.rows import read_labelled
from tohum.classification.split import split_rows

GGUF = ROOT / ".cache" / "pretrained" / "SmolLM2-135M-Instruct.Q4_1.gguf"
FOLDER = WORK / "classifier_speed"
SMS = DATA / "classification" / "sms_spam.tsv"
ROWS, SEED, BATCH, RATE = 1200, 1, 16, 6e-4
SPEED_STEPS, STEPS = 10, 48
THEIRS = """
import csv, json, resource, sys, warnings
warnings.filterwarnings("ignore")
import torch
from peft import LoraConfig, get_peft_model
from transformers import AutoModelForSequenceClassification, AutoTokenizer, DataCollatorWithPadding, Trainer
from transformers import TrainingArguments
base, folder, steps = sys.argv[1], sys.argv[2], int(sys.argv[3])
words = AutoTokenizer.from_pretrained(base)
words.pad_token = words.eos_token
def rows(name):
    return [{"input_ids": words(text)["input_ids"], "labels": int(label == "spam")}
            for label, text in csv.reader(open(f"{folder}/{name}.csv", encoding="utf-8"))]
model = AutoModelForSequenceClassification.from_pretrained(base, num_labels=2, dtype=torch.float32)
model.config.pad_token_id = words.pad_token_id
linears = ["q_proj", "k_proj", "v_proj", "o_proj", "gate_proj", "up_proj", "down_proj"]
model = get_peft_model(model, LoraConfig(r=16, lora_alpha=32, target_modules=linears, task_type="SEQ_CLS"))
arguments = TrainingArguments(output_dir=f"{folder}/trainer", max_steps=steps,
                              per_device_train_batch_size=int(sys.argv[5]),
                              learning_rate=float(sys.argv[6]), report_to=[],
                              save_strategy="no", logging_strategy="no", disable_tqdm=True,
                              use_cpu=not torch.cuda.is_available())
trainer = Trainer(model=model, args=arguments, train_dataset=rows("train"),
                  data_collator=DataCollatorWithPadding(words))
done = trainer.train()
found = trainer.predict(rows("test")) if sys.argv[4] == "accuracy" else None
print(json.dumps({"seconds": done.metrics["train_runtime"],
                  "accuracy": float((found.predictions.argmax(-1) == found.label_ids).mean()) if found else None,
                  "peak_memory_bytes": resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024}))
"""


def main() -> None:
    """Measure and keep."""
    parser = argparse.ArgumentParser()
    parser.add_argument("parts", nargs="*", choices=[[], *PARTS], metavar="speed|accuracy", help="both without")
    parser.add_argument("--rounds", type=int, default=5, help="of the speed")
    options = parser.parse_args()
    base = WORK / "smollm2"
    if not base.is_dir():
        tohum("import", GGUF, "--out", base)
    data = write_rows()
    rows = [PARTS[part](base, data, options.rounds) for part in options.parts or PARTS]
    record("classifier_speed", {"rows": merged("classifier_speed", rows)})


def speed(base: Path, data: Path, rounds: int) -> dict[str, Any]:
    """Rows a second in training, and the memory of it."""
    found = [(ours(base, data, SPEED_STEPS), theirs(base, "speed", SPEED_STEPS)) for _ in range(rounds)]
    mine, peer = ({key: median(entry[key] for entry in entries) for key in ("seconds", "peak_memory_bytes")}
                  for entries in zip(*found, strict=True))
    rates = [SPEED_STEPS * BATCH / side["seconds"] for side in (mine, peer)]
    return row("training a classifier, SMS spam, LoRA", part="speed", unit="rows/s", ours=rates[0], peer=rates[1],
               peer_name="Trainer + peft", goal=3.0, memory=mine["peak_memory_bytes"],
               peer_memory=peer["peak_memory_bytes"], packages=("transformers", "peft"))


def accuracy(base: Path, data: Path, rounds: int) -> dict[str, Any]:
    """Of the test rows; one training is enough, for the same seed gives the same weights."""
    mine, peer = ours(base, data, STEPS), theirs(base, "accuracy", STEPS)
    return row(f"accuracy after {STEPS} steps", part="accuracy", unit="of the test rows", ours=mine["accuracy"],
               peer=peer["accuracy"], peer_name="Trainer + peft", goal=1.0, memory=mine["peak_memory_bytes"],
               peer_memory=peer["peak_memory_bytes"], packages=("transformers", "peft"))


PARTS = {"speed": speed, "accuracy": accuracy}


def write_rows() -> Path:
    """The first rows for ours, and what our split makes of them for theirs."""
    FOLDER.mkdir(parents=True, exist_ok=True)
    path = FOLDER / "all.tsv"
    lines = SMS.read_text("utf-8").splitlines(keepends=True)
    path.write_text("".join(lines[:ROWS]), "utf-8")
    split = split_rows(read_labelled(path), seed=SEED)
    for name in ("train", "test"):
        with (FOLDER / f"{name}.csv").open("w", encoding="utf-8", newline="") as file:
            csv.writer(file).writerows((entry.label, entry.text) for entry in getattr(split, name))
    return path


def ours(base: Path, data: Path, steps: int) -> dict[str, Any]:
    """The command; the seconds are those between its first and its last step."""
    out = FOLDER / "run"
    result = tohum("finetune", "classify", base, "--data", data, "--lora-rank", 16, "--steps", steps, "--seed", SEED,
                   "--balance", "none", "--set", "training.eval_every=0", "--set", f"optimizer.lr={RATE}", "--out", out,
                   "--force")
    lines = [json.loads(line) for line in (out / "metrics.jsonl").read_text("utf-8").splitlines()]
    last = [line["seconds"] for line in lines if line["kind"] == "step"][-1]
    return {"seconds": last, "accuracy": result["test"]["accuracy"], "peak_memory_bytes": result["peak_memory_bytes"]}


def theirs(base: Path, part: str, steps: int) -> dict[str, Any]:
    """Trainer, in a process of its own."""
    done = subprocess.run([sys.executable, "-c", THEIRS, str(base), str(FOLDER), str(steps), part, str(BATCH),
                           str(RATE)],
                          capture_output=True, text=True)
    if done.returncode:
        sys.exit(done.stderr[-2000:])
    return json.loads(done.stdout.strip().splitlines()[-1])


if __name__ == "__main__":
    main()
