"""Speed of decoding and of reading a prompt: ours, transformers (eager) and llama.cpp on SmolLM2-135M, in one run.

`make pretrained && python -m benchmarks.decode_speed` keeps every engine in a process of its own and asks it five times
for

    decode     24 new tokens for 1 row and for 8 rows, greedily, behind a prompt of 16 tokens
    prefill    512 tokens of one prompt

in float32, in 16 bits (bfloat16; llama.cpp float16) and in bytes (ours int8, llama.cpp q8_0; transformers has none).
Medians, in tokens per second; the peak of resident memory beside them. Where the processor does not multiply bfloat16,
transformers takes minutes for 8 rows and for prompts in that format, and only its single row is measured.
"""

import json
import statistics
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import psutil
import torch
from benchmarks.common import ROOT, WORK, record, tohum

from tohum.exporting.llama_cpp import LlamaCpp
from tohum.generation.choice import Choice
from tohum.generation.decode import Decoder, generate
from tohum.handle import Model
from tohum.machine import cores, has_bf16_arithmetic

SOURCE = ROOT / ".cache" / "pretrained" / "SmolLM2-135M-Instruct.Q4_1.gguf"
MODEL = WORK / "smollm2"
NEW, PROMPT, LONG, TIMES = 24, 16, 512, 5
WORK_ITEMS = (("decode", 1), ("decode", 8), ("prefill", 1))
PRECISIONS = {"float32": ("fp32", "fp32"), "16 bits": ("bf16", "fp16"), "bytes": ("int8", "q8_0")}
GREEDY = Choice(temperature=0)


def prompts(rows: int, length: int) -> list[list[int]]:
    """Different ids for every row and call, so that nobody can use what he remembers."""
    start = time.monotonic_ns() % 20_000
    return [[1000 + (start + 7 * row + k * (row + 3)) % 40_000 for k in range(length)] for row in range(rows)]


def ours(precision: str) -> Callable[[str, int], float]:
    """Tokens per second of Tohum."""
    model = Model.load(MODEL, dtype="fp32" if precision == "int8" else precision, int8=precision == "int8")
    network = model.loaded.network

    def run(what: str, rows: int) -> float:
        if what == "prefill":
            decoder = Decoder(network, prompts(1, LONG), choice=GREEDY, max_tokens=1)
            started = time.perf_counter()
            decoder.step()
            return LONG / (time.perf_counter() - started)
        stream = generate(network, prompts(rows, PROMPT), choice=GREEDY, max_tokens=NEW + 1)
        for _ in range(rows):  # the first pass reads the prompts
            next(stream)
        started = time.perf_counter()
        count = sum(1 for _ in stream)
        return count / (time.perf_counter() - started)

    return run


def transformers(precision: str) -> Callable[[str, int], float]:
    """Tokens per second of transformers' own loop, with its cache, eager."""
    from transformers import AutoModelForCausalLM

    dtype = {"fp32": torch.float32, "bf16": torch.bfloat16}[precision]
    model: Any = AutoModelForCausalLM.from_pretrained(MODEL, dtype=dtype).eval()

    @torch.inference_mode()
    def run(what: str, rows: int) -> float:
        if what == "prefill":
            ids = torch.tensor(prompts(1, LONG))
            started = time.perf_counter()
            model(ids, logits_to_keep=1)
            return LONG / (time.perf_counter() - started)
        times = []
        for count in (1, NEW + 1):  # the first token's time is that of the prompt
            ids = torch.tensor(prompts(rows, PROMPT))
            started = time.perf_counter()
            model.generate(ids, attention_mask=torch.ones_like(ids), do_sample=False, min_new_tokens=count,
                           max_new_tokens=count, pad_token_id=0)
            times.append(time.perf_counter() - started)
        return rows * NEW / (times[1] - times[0])

    return run


def llama_cpp(precision: str) -> Callable[[str, int], float]:
    """Tokens per second of llama.cpp's server, as it counts them (for several rows by the clock)."""
    server = LlamaCpp(WORK / f"smollm2-{precision}.gguf", context=8 * 1024, rows=8, exact_cache=False)

    def run(what: str, rows: int) -> float:
        if what == "prefill":
            found = server.ask("/completion", prompt=prompts(1, LONG)[0], n_predict=1, cache_prompt=False)
            return found["timings"]["prompt_per_second"]

        def one(ids: list[int]) -> dict[str, float]:
            return server.ask("/completion", prompt=ids, n_predict=NEW + 1, temperature=0.0, ignore_eos=True,
                              cache_prompt=False)["timings"]

        with ThreadPoolExecutor(rows) as pool:
            timings = list(pool.map(one, prompts(rows, PROMPT)))
        return rows * NEW / max(timing["predicted_ms"] / 1000 for timing in timings)

    return run


ENGINES = {"tohum": ours, "transformers": transformers, "llama.cpp": llama_cpp}


def serve(engine: str, precision: str) -> None:
    """A worker: one question per line of stdin, one answer per line of stdout."""
    torch.set_num_threads(cores())
    run = ENGINES[engine](precision)
    print("ready", flush=True)
    for line in sys.stdin:
        what, rows = line.split()
        print(run(what, int(rows)), flush=True)


@contextmanager
def worker(engine: str, precision: str) -> Iterator[Callable[[str], float]]:
    """Start one, and end it; the question "memory" is answered here."""
    process = subprocess.Popen([sys.executable, "-m", "benchmarks.decode_speed", engine, precision], text=True,
                               stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL)
    assert process.stdin is not None
    assert process.stdout is not None
    assert process.stdout.readline().strip() == "ready", f"{engine} {precision} does not start"

    def ask(question: str) -> float:
        if question == "memory":
            family = [psutil.Process(process.pid), *psutil.Process(process.pid).children(recursive=True)]
            return max(peak_bytes(member.pid) for member in family)
        process.stdin.write(question + "\n")
        process.stdin.flush()
        return float(process.stdout.readline())

    try:
        yield ask
    finally:
        for child in psutil.Process(process.pid).children(recursive=True):
            child.kill()
        process.kill()
        process.wait()


def peak_bytes(pid: int) -> int:
    """The largest resident memory that a process ever had."""
    status = Path(f"/proc/{pid}/status").read_text()
    return 1024 * int(next(line for line in status.splitlines() if line.startswith("VmHWM")).split()[1])


def measure(name: str, formats: tuple[str, str]) -> list[dict[str, Any]]:
    """One precision: all engines in turn."""
    mine, theirs = formats
    kinds = {"tohum": mine, "llama.cpp": theirs} | ({} if mine == "int8" else {"transformers": mine})
    rows = []
    slow = name == "16 bits" and not has_bf16_arithmetic()
    for what, count in WORK_ITEMS:
        able = {engine: kind for engine, kind in kinds.items() if not (slow and engine == "transformers")
                or (what, count) == WORK_ITEMS[0]}
        found: dict[str, list[float]] = {}
        memory = {}
        for engine, kind in able.items():
            with worker(engine, kind) as ask:
                ask(f"{what} {count}")  # warm
                found[engine] = [ask(f"{what} {count}") for _ in range(TIMES)]
                memory[engine] = int(ask("memory"))
        rates = {engine: statistics.median(values) for engine, values in found.items()}
        rows.append({"work": what, "rows": count, "precision": name, "formats": able, "tokens_per_second": rates,
                     "peak_memory_bytes": memory,
                     "ratio": {engine: rates["tohum"] / rate for engine, rate in rates.items() if engine != "tohum"}})
        print(json.dumps(rows[-1]), flush=True)
    return rows


def main() -> None:
    """Import and export once, then measure."""
    if len(sys.argv) == 3:
        return serve(*sys.argv[1:])
    if not (MODEL / "config.json").is_file():
        tohum("import", SOURCE, "--out", MODEL, "--force")
    for _, kind in PRECISIONS.values():
        if not (WORK / f"smollm2-{kind}.gguf").is_file():
            tohum("export", MODEL, "--to", "gguf", "--dtype", kind, "--out", WORK / f"smollm2-{kind}.gguf", "--force")
    rows = [row for name, formats in PRECISIONS.items() for row in measure(name, formats)]
    record("decode_speed", {"rows": rows, "goal": "at least 2 x transformers (eager) at the same precision"})


if __name__ == "__main__":
    main()
