"""How soon a command answers: `python -m benchmarks.start` (after `make pretrained`).

    tohum --help                     from the start of the process to its end
    tohum generate, 1 token          SmolLM2-135M, file in the page cache; beside the time that nobody can go below:
                                     `python -c "import torch"` plus one read of the file
"""

import subprocess
import sys
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from statistics import median
from typing import Any

from benchmarks.common import ROOT, WORK, record, tohum
from benchmarks.rows import row

GGUF = ROOT / ".cache" / "pretrained" / "SmolLM2-135M-Instruct.Q4_1.gguf"
TIMES = 9


def timed(command: Sequence[object]) -> float:
    """Seconds of a whole process. Stops the benchmark where it fails."""
    started = time.perf_counter()
    done = subprocess.run(list(map(str, command)), capture_output=True, text=True)
    if done.returncode:
        sys.exit(done.stderr[-2000:])
    return time.perf_counter() - started


def read(path: Path) -> float:
    """Seconds of one read of a file."""
    started = time.perf_counter()
    path.read_bytes()
    return time.perf_counter() - started


def alternated(*works: Callable[[], float]) -> list[float]:
    """Median seconds of each, in turn, after one round that is not counted."""
    found: list[list[float]] = [[] for _ in works]
    for turn in range(TIMES + 1):
        for values, work in zip(found, works, strict=True):
            seconds = work()
            values += [seconds] if turn else []
    return [median(values) for values in found]


def main() -> None:
    """Measure and keep."""
    model = WORK / "smollm2"
    if not model.is_dir():
        tohum("import", GGUF, "--out", model)
    weights = model / "model.safetensors"
    here = [sys.executable, "-m", "tohum"]
    one = [*here, "generate", model, "--prompt", "The seed", "--max-tokens", "1", "--temperature", "0"]
    shown, torch_alone, reading, token = alternated(
        lambda: timed([*here, "--help"]), lambda: timed([sys.executable, "-c", "import torch"]),
        lambda: read(weights), lambda: timed(one))
    rows: list[dict[str, Any]] = [
        row("tohum --help", unit="s", ours=shown, limit=0.15),
        row("tohum generate, the first token, SmolLM2-135M", unit="s", ours=token, peer=torch_alone + reading,
            peer_name="import torch and one read of the file", goal=1.5)]
    record("start", {"rows": rows, "import_torch_seconds": torch_alone, "read_seconds": reading})


if __name__ == "__main__":
    main()
