"""What a larger model, window, batch or corpus costs: `python -m benchmarks.cost_over_size [--again]`.

One dial at a time around depth 6, windows of 256 tokens, 8 windows a step, a corpus of 10 MB. Steps are measured by
`tohum plan` (it trains for some seconds), corpora by `tohum data prepare`. Rates and memory go to
benchmarks/results/cost_over_size.json, the pictures to docs/images/cost-*.svg.

Every point is kept under .cache/ as it comes, and what is there is not measured again unless `--again` is given: the
whole takes half an hour. Steps of windows beyond 2,048 tokens hold one window, for a pass does.
"""

import argparse
import json
import math
import shutil
import sys
import time
from collections.abc import Callable
from itertools import pairwise
from pathlib import Path
from typing import Any

from benchmarks.common import ROOT, record, tohum
from benchmarks.plot import Panel, write_plot
from benchmarks.prepare_speed import FOLDER, make_corpus, run

DEPTH, CONTEXT, ROWS = 6, 256, 8
POINTS = FOLDER / "cost_over_size.jsonl"
STEP_TOKENS = CONTEXT * ROWS
DIALS = {
    "depth": (2, 3, 4, 6, 8, 12, 16),
    "context": (128, 256, 512, 1024, 2048, 4096),
    "batch": (1, 2, 4, 8, 16, 32, 64),
}
UNITS = {"depth": "layers (width 64 per layer)", "context": "tokens of a window", "batch": "windows of a step",
         "corpus": "MB of text"}
BENDS = 0.15  # a change of the exponent that is worth a word


def main() -> None:
    """Measure, keep, draw."""
    parser = argparse.ArgumentParser()
    parser.add_argument("--megabytes", type=int, nargs="+", default=[1, 10, 100, 1000])
    parser.add_argument("--again", action="store_true", help="measure every point anew")
    options = parser.parse_args()
    if len(set(options.megabytes)) < 3:
        parser.error("--megabytes: three different sizes at least, or there is no curve")
    if options.again:
        POINTS.unlink(missing_ok=True)
    tokenizer = learned_tokenizer()
    data = FOLDER / "data-10"
    found = {"corpus": [kept("corpus", size, lambda size=size: prepared(size, tokenizer))
                        for size in sorted({10, *options.megabytes})]}
    if not data.is_dir():  # its point is known, and it was cleared away
        prepared(10, tokenizer)
    for dial, values in DIALS.items():
        found[dial] = [kept(dial, value, lambda dial=dial, value=value: step(data, dial, value)) for value in values]
    described = {dial: describe(points) for dial, points in found.items()}
    record("cost_over_size", {"points": found, "exponents": described, "units": UNITS})
    for dial, points in found.items():
        draw(dial, points)


def kept(dial: str, size: int, measure: Callable[[], dict[str, float]]) -> dict[str, float]:
    """The point from an earlier call, or measured now."""
    known = [json.loads(line) for line in POINTS.read_text("utf-8").splitlines()] if POINTS.is_file() else []
    point = next((point for point in known if (point["dial"], point["size"]) == (dial, size)), None)
    if point is None:
        point = {"dial": dial, **measure()}
        with POINTS.open("a", encoding="utf-8") as file:
            file.write(json.dumps(point) + "\n")
        print(point, flush=True)
    return point


def learned_tokenizer() -> Path:
    """A vocabulary of 4,096 from the embedded text."""
    folder = FOLDER / "small-tokenizer"
    if not folder.is_dir():
        tohum("tokenizer", "train", "python-docs", "--kind", "bpe", "--vocab-size", 4096, "--out", folder)
    return folder


def prepared(megabytes: int, tokenizer: Path) -> dict[str, float]:
    """What `tohum data prepare` takes for a corpus; the data of 10 MB stays for the other dials."""
    corpus, _ = make_corpus(megabytes * 1_000_000)
    out = FOLDER / f"data-{megabytes}"
    shutil.rmtree(out, ignore_errors=True)
    started = time.perf_counter()
    _, peak = run([sys.executable, "-m", "tohum", "data", "prepare", str(corpus), "--tokenizer", str(tokenizer),
                   "--out", str(out), "--json"])
    seconds = time.perf_counter() - started
    if megabytes != 10:
        shutil.rmtree(out)
    return {"size": megabytes, "rate": corpus.stat().st_size / seconds / 1e6, "memory": peak, "seconds": seconds}


def step(data: Path, dial: str, value: int) -> dict[str, float]:
    """Tokens per second and memory of training with one dial turned."""
    context = value if dial == "context" else CONTEXT
    tokens = value * CONTEXT if dial == "batch" else max(STEP_TOKENS, context)
    plan = tohum("plan", "--data", data, "--depth", value if dial == "depth" else DEPTH, "--steps", 2000,
                 "--set", f"data.max_length={context}", "--set", f"training.batch_tokens={tokens}",
                 "--set", "training.compile=false")
    measured = plan["measured"]
    return {"size": value, "rate": tokens / measured["step_seconds"], "memory": measured["peak_memory_bytes"],
            "parameters": plan["model"]["parameters"]}


def describe(points: list[dict[str, float]]) -> dict[str, Any]:
    """Exponents of time per token (or byte) and of memory over the dial, from point to point, and where they bend."""
    found: dict[str, Any] = {}
    for name, key, sign in (("time", "rate", -1), ("memory", "memory", 1)):
        slopes = [sign * math.log(b[key] / a[key]) / math.log(b["size"] / a["size"]) for a, b in pairwise(points)]
        whole = sign * math.log(points[-1][key] / points[0][key]) / math.log(points[-1]["size"] / points[0]["size"])
        changes = [abs(b - a) for a, b in pairwise(slopes)]
        sharpest = max(range(len(changes)), key=changes.__getitem__) if changes else None
        bend = points[sharpest + 1]["size"] if sharpest is not None and changes[sharpest] > BENDS else None
        found[name] = {"exponent": whole, "between": slopes, "bends_at": bend}
    return found


def draw(dial: str, points: list[dict[str, float]]) -> None:
    """Rate and memory, both axes logarithmic."""
    sizes = [point["size"] for point in points]
    rate = "MB per second" if dial == "corpus" else "tokens per second"
    memory = [Panel("memory, GB", sizes, [point["memory"] / 1e9 for point in points])]
    write_plot(ROOT / "docs" / "images" / f"cost-{dial}.svg", UNITS[dial],
               [[Panel(rate, sizes, [point["rate"] for point in points])], memory])


if __name__ == "__main__":
    main()
