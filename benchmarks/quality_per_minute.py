"""How good a model is after seconds, not minutes: `python -m benchmarks.quality_per_minute [--peer-dir GPT CHAT]`.

    budget 80s   bits per byte that nanochat's model and optimizer reach in 240 s of training
    budget 10s   what nanoGPT's own recipe reaches in 60 s

On tinyshakespeare's characters and those of Turkish parliament minutes, three seeds each, the median; bits per byte
over the whole validation text. Our clock starts with the process: import, planning and a compilation count; the final
evaluation does not, as with theirs, so the budget that is asked for is that much longer, and `clock_seconds` says when
the last step was done. Checkouts of nanoGPT and nanochat are trained in turn with ours, 40 minutes in all, and kept
under .cache/; without them the rows name what they reached on another machine, on the first corpus alone.
"""

import argparse
import json
import statistics
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import numpy as np
from benchmarks.common import CORPORA, ROOT, WORK, prepared, record, shown, tohum
from benchmarks.rows import row

from tohum.data_sampling.shards import DataFolder

SEEDS = (1, 2, 3)
NAMES = {"tinyshakespeare": "tinyshakespeare characters", "parliament-tr": "Turkish parliament minutes, characters"}
PEERS = {80.0: ("nanochat", 240.0), 10.0: ("nanoGPT", 60.0)}  # by our seconds on the clock
ELSEWHERE = {"nanochat": 2.264, "nanoGPT": 2.963}
NOTE = "the peers were measured once, on another machine"
CLOSING_SECONDS = {80.0: 2.0, 10.0: 1.4}  # evaluation, report
IDS = WORK / "quality-ids"
STARTED = time.strftime("%Y-%m-%d %H:%M")


def clock_seconds(run: Path, process_seconds: float) -> float:
    """Seconds from the start of the process to the end of the last step (the report's own time is left in)."""
    lines = [json.loads(line) for line in (run / "metrics.jsonl").read_text("utf-8").splitlines()]
    last = max(line["seconds"] for line in lines if line["kind"] == "step")
    end = next(line["seconds"] for line in lines if line.get("event") == "finished")
    return process_seconds - (end - last)


def main() -> None:
    """Train, and keep the medians."""
    parser = argparse.ArgumentParser()
    parser.add_argument("--peer-dir", nargs=2, metavar=("NANOGPT", "NANOCHAT"))
    given = parser.parse_args().peer_dir
    checkouts = dict(zip(("nanoGPT", "nanochat"), given or (), strict=False))
    runs: list[dict[str, Any]] = []
    rows = []
    for corpus, name in NAMES.items():
        data = prepared(corpus, CORPORA[corpus], kind="char")
        for seconds, (peer, peer_seconds) in PEERS.items():
            theirs = []
            for seed in SEEDS:
                if checkouts:
                    theirs.append(trained_peer(peer, checkouts[peer], corpus, data, seed, peer_seconds))
                runs.append({"corpus": corpus, "seconds": seconds, "seed": seed} | ours(corpus, data, seconds, seed))
                print(theirs[-1:], runs[-1], flush=True)
            runs += [{"corpus": corpus, "peer": peer} | run for run in theirs]
            mine = [run for run in runs if (run["corpus"], run.get("seconds")) == (corpus, seconds)]
            here = statistics.median(run["val_bits_per_byte"] for run in theirs) if theirs else None
            elsewhere = ELSEWHERE[peer] if corpus == "tinyshakespeare" else None
            note = kept_note({run["trained"] for run in theirs}) if here else NOTE
            rows.append(row(f"{name}, {seconds:.0f} s from the start of the process", unit="bits per byte", goal=1.0,
                            ours=statistics.median(run["val_bits_per_byte"] for run in mine),
                            peer=here or elsewhere, peer_name=f"{peer}, {peer_seconds:.0f} s",
                            memory=max(run["peak_memory_bytes"] for run in mine),
                            **({"note": note} if note else {}), elsewhere=elsewhere))
            record("quality_per_minute", {"rows": rows, "runs": runs})  # as far as it has come


def ours(corpus: str, data: Path, seconds: float, seed: int) -> dict[str, Any]:
    """One run."""
    out = WORK / f"quality-{corpus}-{seconds:.0f}-{seed}"
    done = tohum("pretrain", "--data", data, "--budget", f"{seconds + CLOSING_SECONDS[seconds]}s", "--seed", seed,
                 "--out", out, "--force")
    return shown(done, "val_bits_per_byte", "parameters", "steps", "process_seconds", "peak_memory_bytes") | {
        "clock_seconds": clock_seconds(out, done["process_seconds"])}


def trained_peer(peer: str, checkout: str, corpus: str, data: Path, seed: int, seconds: float) -> dict[str, Any]:
    """One run of a peer on the same ids, from the cache if it was made before; `trained` is when."""
    kept = IDS / corpus / f"{peer}-{seconds:.0f}-{seed}.json"
    if not kept.is_file():
        command = [sys.executable, ROOT / "benchmarks" / "quality_peers.py", peer, checkout, write_ids(corpus, data)]
        done = subprocess.run([*map(str, command), str(seed), str(seconds)], capture_output=True, text=True)
        if done.returncode:
            sys.exit(done.stderr[-2000:])
        kept.write_text(done.stdout, "utf-8")
    trained = time.strftime("%Y-%m-%d %H:%M", time.localtime(kept.stat().st_mtime))
    return {"seed": seed, "trained": trained} | json.loads(kept.read_text("utf-8"))


def kept_note(trained: set[str]) -> str | None:
    """Says so where peers are not of this run: the machine may have been slower or faster then."""
    before = sorted(moment for moment in trained if moment < STARTED)
    return f"the peers were trained from {before[0]} to {before[-1]} and kept" if before else None


def write_ids(corpus: str, data: Path) -> Path:
    """The same ids as ours, and the bytes of each."""
    folder, opened = IDS / corpus, DataFolder.open(data)
    folder.mkdir(parents=True, exist_ok=True)
    for split in ("train", "val"):
        np.save(folder / f"{split}.npy", np.asarray(opened.tokens(0, split)[:]))
    np.save(folder / "bytes.npy", opened.tokenizer.byte_lengths)
    return folder


if __name__ == "__main__":
    main()
