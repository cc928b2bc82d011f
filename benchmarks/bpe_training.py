"""Learning a BPE vocabulary against rustbpe: `python -m benchmarks.bpe_training [--megabytes 50] [--rounds 5]`.

The corpus of benchmarks/prepare_speed.py, 32,768 entries, the same pattern. Ours is the whole command, with reading and
writing; rustbpe gets its texts from memory. Each in a process of its own, in turn.
"""

import argparse
import shutil
import sys
import time
from pathlib import Path
from statistics import median

from benchmarks.common import record
from benchmarks.peers import python_with
from benchmarks.prepare_speed import FOLDER, make_corpus, run
from benchmarks.rows import row

from tohum.tokenizing.patterns import DEFAULT_PATTERN, PATTERNS

VOCABULARY = 32_768
THEIRS = """
import json, sys, time
import rustbpe
texts = [json.loads(line)["text"] for line in open(sys.argv[1], encoding="utf-8")]
started = time.perf_counter()
words = rustbpe.Tokenizer()
words.train_from_iterator(iter(texts), int(sys.argv[2]), pattern=sys.argv[3])
print(json.dumps({"seconds": time.perf_counter() - started}))
"""


def ours(corpus: Path) -> dict[str, float]:
    """The whole command, from the start of its process."""
    out = FOLDER / "learned"
    shutil.rmtree(out, ignore_errors=True)
    started = time.perf_counter()
    _, peak = run([sys.executable, "-m", "tohum", "tokenizer", "train", str(corpus), "--kind", "bpe", "--vocab-size",
                   str(VOCABULARY), "--out", str(out), "--json"])
    return {"seconds": time.perf_counter() - started, "memory": peak}


def theirs(corpus: Path, python: Path) -> dict[str, float]:
    """rustbpe alone."""
    found, peak = run([str(python), "-c", THEIRS, str(corpus), str(VOCABULARY), PATTERNS[DEFAULT_PATTERN]])
    return found | {"memory": peak}


def main() -> None:
    """Measure and keep."""
    parser = argparse.ArgumentParser()
    parser.add_argument("--megabytes", type=int, default=50)
    parser.add_argument("--rounds", type=int, default=5)
    options = parser.parse_args()
    corpus, _ = make_corpus(options.megabytes * 1_000_000)
    python = python_with("rustbpe", "rustbpe==0.1.0")
    found: dict[str, list[dict[str, float]]] = {"ours": [], "theirs": []}
    for _ in range(options.rounds):
        found["ours"].append(ours(corpus))
        found["theirs"].append(theirs(corpus, python))
    mine, peer = ({key: median(entry[key] for entry in entries) for key in ("seconds", "memory")}
                  for entries in found.values())
    size = corpus.stat().st_size / 1e6
    record("bpe_training", {"rows": [row(
        f"tokenizer train, bpe of {VOCABULARY:,} on {size:.0f} MB, the whole command, against learning alone",
        unit="MB/s", ours=size / mine["seconds"], peer=size / peer["seconds"], peer_name="rustbpe", goal=1.0,
        memory=mine["memory"], peer_memory=peer["memory"], packages=("tokenizers",), peer_python=python)]})


if __name__ == "__main__":
    main()
