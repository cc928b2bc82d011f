"""Made folders of fine-tuning runs of all three kinds, with the shape of real ones."""

import math
from pathlib import Path
from typing import Any

import tomli_w

from tests.report.runs import write_json, write_lines

QUESTIONS = 25
GAIN = {"before": 0.05, "after": 0.31, "difference": {"value": 0.26, "low": 0.2, "high": 0.33}, "verdict": "better"}
FLAT = {"before": 0.0, "after": 0.0, "difference": {"value": 0.0, "low": 0.0, "high": 0.0}, "verdict": "no clear change"}
GENERAL = {"text": "a general text", "before": {"bits_per_byte": 1.21}, "after": {"bits_per_byte": 1.3},
           "rise": {"value": 0.074, "low": 0.05, "high": 0.09}}


def write_tuned(run: Path, kind: str, *, finished: bool = True, method: str = "dpo", balance: str = "weights",
                seed: int = 7) -> Path:
    """All files of a run of 20 steps that was validated every five, of which the third is the best."""
    run.mkdir(parents=True)
    train = {"steps": 20, "batch_rows": 8, "seed": seed, "dtype": "fp32", "device": "cpu"}
    config: dict[str, Any] = {
        "model": {"folder": "models/small"}, "data": {"file": "rows.tsv", "fractions": [0.7, 0.1, 0.2]},
        "training": train, "optimizer": {"kind": "adamw", "lr": 5e-4}, "schedule": {"kind": "linear"},
        "lora": {"rank": 8, "targets": ["*"], "kind": "lora"}}
    if kind == "classify":
        config["data"]["balance"] = balance
    if kind == "prefer":
        config["preference"] = {"method": method, "beta": 0.1}
    (run / "config.toml").write_text(tomli_w.dumps(config))
    data = class_data() if kind == "classify" else asking_data()
    write_json(run / "plan.json", {"kind": kind, "data": data})
    write_json(run / "env.json", {"tohum": "0.1.0", "cpu": {"model": "Some CPU"}})
    write_lines(run / "metrics.jsonl", metrics(kind))
    if kind != "classify":
        write_lines(run / "samples.jsonl", canaries())
        write_lines(run / "answers_before.jsonl", answers("thing", "length"))
    if finished:
        if kind != "classify":
            write_lines(run / "answers.jsonl", answers("answer", "stop"))
        write_json(run / "result.json", result(kind, data, balance))
    return run


def metrics(kind: str) -> list[dict]:
    lines: list[dict] = []
    for step in range(21):
        at = {"step": step, "tokens": step * 8, "seconds": step * 0.5}
        if step:
            lines.append({"kind": "step", **at, "epoch": step / 10, "lr": 5e-4 * (1 - step / 20), "grad_norm": 1.0,
                          "loss": math.log(2) - 0.02 * step, "tokens_per_second": 16.0 if step > 1 else 0.0})
        if step and kind == "prefer":
            lines.append({"kind": "figures", "step": step, "margin": 0.01 * step, "accuracy": 0.6, "preferred": 0.5})
        if step % 5 == 0:
            found = {"classify": {"accuracy": 0.7 + 0.01 * step, "macro_f1": 0.5 + 0.02 * step},
                     "instruct": {"perplexity": 2.0}, "prefer": {"margin": 0.01 * step, "accuracy": 0.625}}[kind]
            lines.append({"kind": "evaluation", **at, "loss": 0.693 if not step else 0.5 + 0.01 * abs(step - 15)} | found)
    return lines


def canaries() -> list[dict]:
    return [{"step": step, "tokens": step * 8, "seconds": step * 0.5, "prompt": f"Canary {number}?",
             "expected": "It sings.", "text": f"At {step} it sings.", "finish_reason": "stop"}
            for step in (10, 20) for number in range(2)]


def answers(word: str, reason: str) -> list[dict]:
    return [{"prompt": [{"role": "user", "content": f"Question {number}?"}], "expected": f"the answer {number}",
             "answer": f"{word} {number}", "finish_reason": reason, "place": f"rows.jsonl:{number + 1}"}
            for number in range(QUESTIONS)]


def class_data() -> dict:
    side = {"rows": 70, "tokens": 2100, "cut": 3, "dropped": 0, "length_tokens": {"p50": 29, "p90": 91, "p99": 127,
                                                                                 "max": 159}}
    return {"labels": ["ham", "spam"], "columns": {"reasons": ["column 2 holds sentences"]},
            "notes": ["11 rows repeat the text of another"], "dropped": {"no text": 4},
            "class_weights": {"ham": 0.58, "spam": 3.44}, "max_length": 128,
            "sides": {"train": side, "validation": side | {"cut": 0}, "test": side | {"cut": 0}}}


def asking_data() -> dict:
    side = {"rows": 90, "kept": 88, "dropped": [{"reason": "longer than 256 tokens", "count": 2, "first": "rows:7"}],
            "copies": 5, "p50": 40, "p90": 80, "p99": 120, "longest": 300, "tokens": 4000, "targets": 1000}
    return {"described": "rows.jsonl: Alpaca", "template_sha256": "9d2d" * 16, "end_of_turn": "<|im_end|>",
            "max_length": 256, "sides": {"train": side, "test": side | {"kept": 32, "dropped": []}}}


def result(kind: str, data: dict, balance: str) -> dict:
    test = class_test(balance) if kind == "classify" else asking_test(kind)
    return {"kind": kind, "data": data, "test": test, "trainable_parameters": 41_216, "parameters": 4_480_000,
            "steps": 20, "tokens": 160, "seconds": 10.0, "train_loss": 0.3, "val_loss": 0.5, "best_step": 15,
            "peak_memory_bytes": 403_000_000}


def class_test(balance: str) -> dict:
    bins = [{"low": n / 15, "high": (n + 1) / 15, "rows": 8 if n > 6 else 0, "confidence": (n + 0.5) / 15,
             "accuracy": n / 15} for n in range(15)]
    return {"rows": 400, "accuracy": 0.9425, "macro_f1": 0.894, "confusion": [[324, 20], [3, 53]],
            "majority_label": "ham", "majority_baseline": 0.86, "nll": 0.148, "expected_calibration_error": 0.035,
            "bins": bins, "temperature": 1.42, "natural": balance != "undersample",
            "calibrated": {"expected_calibration_error": 0.021, "nll": 0.143, "bins": bins},
            "per_class": {"ham": {"precision": 0.991, "recall": 0.942, "f1": 0.966, "support": 344},
                          "spam": {"precision": 0.726, "recall": 0.946, "f1": 0.822, "support": 56}},
            "mistakes": [{"row": n, "label": "ham", "predicted": "spam", "probability": 0.99 - n / 100,
                          "text": f"Mistaken text {n}", "place": f"rows.tsv:{n}"} for n in range(12)],
            "tfidf_baseline": {"name": "TF-IDF + logistic regression", "note": "", "accuracy": 0.93, "macro_f1": 0.87}}


def asking_test(kind: str) -> dict:
    test = {"loss": 0.61, "questions": QUESTIONS, "ended_fraction": 1.0,
            "card": {"questions": QUESTIONS, "gains": {"exact_match": FLAT, "token_f1": GAIN}, "general": GENERAL,
                     "forgetting": True, "nothing_changed": None, "base_sha256": "aa" * 32, "tuned_sha256": "bb" * 32}}
    test |= {name: {"value": value, "low": value, "high": value} for name, value in (
        ("exact_match", 0.0), ("token_f1", 0.31), ("chrf", 22.0))}
    if kind == "instruct":
        return test
    return test | {"margin": 0.21, "accuracy": 0.75, "preferred": 0.69,
                   "before": {"loss": 0.6931, "margin": 0.0, "accuracy": 0.0, "preferred": 0.53}}
