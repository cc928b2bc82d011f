"""After the last step: how the predictions did, baselines, what samples share with the text -> result.json, report."""

import json
from pathlib import Path
from typing import Any

from tohum.data_sampling.shards import DataFolder
from tohum.evaluation.overlap import longest_shared_run
from tohum.files import write_json, write_text
from tohum.loading.folder import model_sha256
from tohum.machine import process_seconds
from tohum.pretraining.corpus import OVERLAP_TEXT_BYTES, split_text, statistics
from tohum.pretraining.plan import Plan
from tohum.training.journal import Journal, read_lines
from tohum.training.state import TrainState


def close(out: Path, plan: Plan, figures: dict[str, Any], state: TrainState, data: DataFolder) -> dict[str, Any]:
    """Write what the report reads, and return the result."""
    mark_shared_runs(out, data)
    text = statistics(data)
    result = figures | {
        "parameters": plan.parameters, "model_sha256": model_sha256(Path(figures["checkpoint"])),
        "data_fingerprint": data.fingerprint,
        "baselines": {"order5_bits_per_byte": text.order5, "xz_bits_per_byte": text.xz} if text else {},
        "process_seconds": round(process_seconds(), 3)}
    result["outcome"] = outcome(out, plan, result)
    Journal(out).write("event", event="finished", step=state.step, seconds=round(state.seconds, 3))
    write_json(out / "result.json", result)
    return result


def mark_shared_runs(out: Path, data: DataFolder) -> None:
    """Each sample of the last step with the longest run of characters that it shares with the training text."""
    path = out / "samples.jsonl"
    samples = read_lines(path) if path.is_file() else []
    last = max((sample["step"] for sample in samples), default=0)
    if not any(sample["step"] == last and "shared_run" not in sample for sample in samples):
        return
    training = split_text(data, "train", OVERLAP_TEXT_BYTES).decode("utf-8", errors="replace")
    for sample in samples:
        if sample["step"] == last:
            sample["shared_run"] = longest_shared_run(sample["text"], training)
    rewrite(path, samples)


def rewrite(path: Path, lines: list[dict[str, Any]]) -> None:
    """Replace a JSONL file."""
    write_text(path, "".join(json.dumps(line, ensure_ascii=False) + "\n" for line in lines))


def outcome(out: Path, plan: Plan, result: dict[str, Any]) -> list[dict[str, Any]]:
    """Predicted beside measured."""
    rows: list[dict[str, Any]] = []
    measured_bits = result["val_bits_per_byte"]
    made = plan.prediction
    if made and measured_bits:
        rows.append({"what": "bits per byte, before step 0", "predicted": made.bits_per_byte, "low": made.low,
                     "high": made.high, "measured": measured_bits, "unit": "bits per byte"})
    for line in read_lines(out / "metrics.jsonl"):
        if line.get("kind") == "prediction" and measured_bits:
            rows.append({"what": f"bits per byte, at {line['fraction']:.0%} of the run", "low": line["low"],
                         "predicted": line["bits_per_byte"], "high": line["high"], "measured": measured_bits,
                         "unit": "bits per byte"})
    if plan.seconds:
        rows.append({"what": "time, from start to result", "predicted": plan.seconds,
                     "measured": result["process_seconds"], "unit": "seconds"})
    rows.append({"what": "peak memory", "predicted": plan.memory.peak_bytes,
                 "measured": result["peak_memory_bytes"], "unit": "bytes"})
    return rows
