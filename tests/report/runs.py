"""A made run folder with the shape of a real one: noisy falling loss, samples, predictions, a plan, a result."""

import json
import math
import random
from pathlib import Path

import tomli_w

PROMPTS = ("The function returns", "A list is", "import os\n")
WORDS = ("the value of an object", "a new list", "if the argument is None", "raise ValueError", "returns True",
         "see the documentation of the module", "for each item in the sequence", "an iterator over keys")
LAYER = {"attention": {"heads": 4, "kv_heads": 4, "head_width": 64, "rope_base": 10000.0, "qk_norm": True},
         "feed_forward": {"kind": "swiglu", "width": 704, "bias": False}, "norm_places": "pre"}


def write_run(run: Path, *, steps: int = 1200, seed: int = 0, finished: bool = True, lr: float = 0.02) -> Path:
    """Write all files of a run that made `steps` steps."""
    chance = random.Random(seed)
    run.mkdir(parents=True)
    data = write_data(run.parent / f"data-of-{run.name}")
    config = {"model": {"depth": 4}, "data": {"folder": str(data), "max_length": 256, "packing": "concatenated"},
              "training": {"steps": steps, "batch_tokens": 4096, "seed": seed, "prompts": list(PROMPTS)},
              "optimizer": {"kind": "muon", "lr": lr}, "schedule": {"kind": "cosine", "warmup_fraction": 0.05}}
    (run / "config.toml").write_text(tomli_w.dumps(config))
    write_json(run / "plan.json", plan(steps))
    write_json(run / "env.json", {"tohum": "0.1.0", "python": "3.11.7", "cpu": {"model": "Some CPU", "cores": 2,
                                  "flags": ["avx2", "avx512_bf16"]}, "torch": {"version": "2.13.0", "threads": 2}})
    write_lines(run / "metrics.jsonl", metrics(chance, steps, lr))
    write_lines(run / "samples.jsonl", samples(chance, steps))
    if finished:
        write_json(run / "result.json", result(json.loads((run / "plan.json").read_text()), steps, loss_at(steps, steps)))
    return run


def write_data(folder: Path) -> Path:
    """index.json of the data folder, as far as the report reads it."""
    folder.mkdir()
    side = {"tokens": 570_000, "documents": 4021, "text_bytes": 2_140_000}
    write_json(folder / "index.json", {
        "fingerprint": "5f1c" * 16, "tokenizer": {"kind": "bpe", "vocab_size": 4096, "sha256": "ab12" * 16},
        "sources": [{"name": "python-docs", "share": 1, "train": side,
                     "val": {"tokens": 63_000, "documents": 447, "text_bytes": 236_000}}]})
    write_json(folder / "statistics.json", {"orders": {"5": 2.104}, "xz": 1.712})
    return folder


def plan(steps: int) -> dict:
    return {"model": {"depth": 4, "parameters": 4_460_000}, "steps": steps, "batch_tokens": 4096, "seconds": 288.0,
            "config": {"vocab_size": 4096, "width": 256, "context": 256, "layers": [LAYER] * 4, "tied": True},
            "budget_seconds": 300.0, "peak_memory_bytes": 1_310_000_000, "predicted_bits_per_byte": 1.66, "low": 1.55,
            "high": 1.79, "memory": {"program": 480e6, "parameters": 18e6, "gradients": 18e6, "optimizer": 27e6,
                                     "activations": 610e6, "loss": 157e6, "peak_bytes": 1_310_000_000}}


def loss_at(step: int, steps: int) -> float:
    """Nats per token: a power law with a kink for the decay."""
    return 2.15 + 6.2 * (1 + step / (0.012 * steps)) ** -0.72 - 0.25 * max(0.0, step / steps - 0.6)


def metrics(chance: random.Random, steps: int, lr: float) -> list[dict]:
    """Lines in the order in which a run writes them."""
    lines = [{"kind": "event", "event": "started", "step": 0, "seconds": 0.0}]
    seconds = 0.0
    for step in range(1, steps + 1):
        seconds += chance.uniform(0.21, 0.25) + (0.4 if step % 311 == 0 else 0)
        at = {"step": step, "tokens": step * 4096, "seconds": round(seconds, 3)}
        rate = lr * min(1.0, step / (0.05 * steps)) * (0.1 + 0.9 * 0.5 * (1 + math.cos(math.pi * step / steps)))
        lines.append({"kind": "step", **at, "epoch": step * 4096 / 570_000, "lr": rate,
                      "loss": loss_at(step, steps) + chance.gauss(0, 0.09),
                      "grad_norm": 0.45 + 2.2 * math.exp(-step / 60) + abs(chance.gauss(0, 0.06)),
                      "tokens_per_second": 4096 / chance.uniform(0.21, 0.25)})
        if step % max(1, steps // 10) == 0:
            loss = loss_at(step, steps) + 0.07
            lines.append({"kind": "evaluation", **at, "loss": loss, "perplexity": math.exp(loss),
                          "bits_per_byte": loss / math.log(2) / 1.93})
        for fraction, middle, reach in ((0.1, 1.62, 0.06), (0.25, 1.64, 0.03)):
            if step == max(2, round(fraction * steps)):
                lines.append({"kind": "prediction", "step": step, "seconds": at["seconds"], "fraction": fraction,
                              "bits_per_byte": middle, "low": middle - reach, "high": middle + reach,
                              "finish_seconds": 284.0, "peak_memory_bytes": 1_290_000_000})
    return lines


def samples(chance: random.Random, steps: int) -> list[dict]:
    found = []
    for moment in range(1, 6):
        step = steps * moment // 5
        for prompt in PROMPTS:
            text = " " + " ".join(chance.choice(WORDS) for _ in range(4 + moment))
            shared = {"shared_run": text[9:9 + 8 * moment]} if moment == 5 else {}
            found.append({"step": step, "tokens": step * 4096, "seconds": step * 0.23, "prompt": prompt,
                          "text": text} | shared)
    return found


def result(planned: dict, steps: int, loss: float) -> dict:
    bits = (loss + 0.07) / math.log(2) / 1.93
    return {
        "steps": steps, "tokens": steps * 4096, "seconds": 279.5, "process_seconds": 286.1,
        "tokens_per_second": 17_600.0, "train_loss": loss, "val_loss": loss + 0.07, "val_bits_per_byte": bits,
        "peak_memory_bytes": 1_284_000_000, "parameters": 4_460_000, "model_sha256": "0e9d" * 16,
        "data_fingerprint": "5f1c" * 16, "baselines": {"order5_bits_per_byte": 2.104, "xz_bits_per_byte": 1.712},
        "outcome": [
            {"what": "bits per byte, before step 0", "predicted": planned["predicted_bits_per_byte"],
             "low": planned["low"], "high": planned["high"], "measured": bits, "unit": "bits per byte"},
            {"what": "bits per byte, at 25% of the run", "predicted": 1.64, "low": 1.61, "high": 1.67,
             "measured": bits, "unit": "bits per byte"},
            {"what": "time, from start to result", "predicted": 288.0, "measured": 286.1, "unit": "seconds"},
            {"what": "peak memory", "predicted": 1_310_000_000, "measured": 1_284_000_000, "unit": "bytes"}]}


def write_json(path: Path, value: dict) -> None:
    path.write_text(json.dumps(value))


def write_lines(path: Path, values: list[dict]) -> None:
    path.write_text("".join(json.dumps(value) + "\n" for value in values))
