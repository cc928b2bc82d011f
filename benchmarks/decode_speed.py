"""Speed of decoding and of reading a prompt: ours, transformers (eager) and llama.cpp on SmolLM2-135M, in one run.

`make pretrained && python -m benchmarks.decode_speed` keeps every engine in a process of its own and asks them in turn,
five times, for

    decode     24 new tokens for 1 row and for 8 rows, greedily, behind a prompt of 16 tokens
    prefill    448 tokens of one prompt

in float32, in 16 bits (bfloat16; llama.cpp float16) and in bytes (ours int8, llama.cpp q8_0; transformers has none);
and for a summary with and without guesses from its prompt. Medians, in tokens per second; the peak of resident memory
beside them. Where the processor does not multiply bfloat16, transformers takes minutes for 8 rows and for prompts in
that format, and only its single row is measured.
"""

import statistics
import sys
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack
from typing import Any

import torch
from benchmarks.common import ROOT, WORK, record, tohum
from benchmarks.rows import product_limit, read_limit, row
from benchmarks.worker import MEMORY, serve, worker

from tohum.exporting.llama_cpp import LlamaCpp
from tohum.generation.choice import Choice
from tohum.generation.decode import Decoder, generate
from tohum.handle import Model
from tohum.machine import cores, has_bf16_arithmetic
from tohum.tokenizing.template import load_template

SOURCE = ROOT / ".cache" / "pretrained" / "SmolLM2-135M-Instruct.Q4_1.gguf"
MODEL = WORK / "smollm2"
NEW, PROMPT, LONG, TIMES = 24, 16, 448, 5
GUESSES, SUMMARY = 8, 128
PARAMETERS = 134_515_008  # of SmolLM2-135M, its tied head once: every one is read for a token
IN_BLOCKS = PARAMETERS - 49_152 * 576  # what a prompt is multiplied with; its head sees the last token alone
BYTES = {"fp32": 4.0, "bf16": 2.0, "int8": 1.0 + 4 / 576}
WORK_ITEMS = (("decode", 1), ("decode", 8), ("prefill", 1))
NAMES = {("decode", 1): "decoding, 1 row", ("decode", 8): "decoding, 8 rows", ("prefill", 1): "a prompt of 448"}
GOALS = {("decode", 1, "llama.cpp"): 1.0, ("prefill", 1, "llama.cpp"): 3.0, ("decode", 1, "transformers"): 2.0,
         ("decode", 8, "transformers"): 2.0, ("prefill", 1, "transformers"): 2.0}
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


def answer(engine: str, precision: str) -> None:
    """A worker, asked for "decode 8" and the like."""
    torch.set_num_threads(cores())
    run = ENGINES[engine](precision)
    serve(lambda question: run(question.split()[0], int(question.split()[1])))


def measure(precision: str, what: str, count: int) -> list[dict[str, Any]]:
    """One piece of work in one precision, all engines in turn: a row against each of the others."""
    mine, theirs = PRECISIONS[precision]
    kinds = {"tohum": mine, "llama.cpp": theirs} | ({} if mine == "int8" else {"transformers": mine})
    if mine == "bf16" and not has_bf16_arithmetic() and (what, count) != WORK_ITEMS[0]:
        del kinds["transformers"]  # minutes
    with ExitStack() as stack:
        asked = {engine: stack.enter_context(worker(["-m", "benchmarks.decode_speed", engine, kind]))
                 for engine, kind in kinds.items()}
        found: dict[str, list[float]] = {engine: [] for engine in asked}
        for turn in range(TIMES + 1):
            for engine, ask in asked.items():
                rate = ask(f"{what} {count}")
                found[engine] += [rate] if turn else []  # the first is to get warm
        rates = {engine: statistics.median(values) for engine, values in found.items()}
        memory = {engine: ask(MEMORY) for engine, ask in asked.items()}
    name = f"{NAMES[what, count]}, {precision}"
    share = share_of_limit(what, count, mine, rates["tohum"])
    return [row(f"{name}, against {peer}", unit="tokens/s", ours=rates["tohum"], peer=rates[peer],
                peer_name=f"{peer} {kinds[peer]}", goal=GOALS.get((what, count, peer)), memory=memory["tohum"],
                peer_memory=memory[peer], packages=("transformers", "xllamacpp"), **share)
            for peer in kinds if peer != "tohum"]


def share_of_limit(what: str, count: int, kind: str, rate: float) -> dict[str, Any]:
    """Ours against the memory's read rate (one row) or the fastest product (a prompt), measured now."""
    if what == "prefill":
        limit, of = product_limit()
        return {"limit": limit, "limit_format": of, "share_of_limit": rate * 2 * IN_BLOCKS / limit}
    if count > 1:
        return {}
    limit = read_limit()
    return {"limit": limit, "limit_format": "bytes read",
            "share_of_limit": rate * PARAMETERS * BYTES[kind] / limit}


def several_rows(rows: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """What eight rows make of one."""
    rates = {entry["row"]: entry for entry in rows}
    found = []
    for precision in PRECISIONS:
        one, eight = (rates[f"{NAMES['decode', count]}, {precision}, against llama.cpp"] for count in (1, 8))
        found.append(row(f"8 rows against 1, {precision}", unit="tokens/s", ours=eight["ours"], peer=one["ours"],
                         peer_name="Tohum, 1 row", goal=4.0))
    return found


def lookup() -> dict[str, Any]:
    """Guesses from the prompt, on a text to be summarised; the two texts have to be the same."""
    model = Model.load(MODEL, dtype="fp32")
    text = (ROOT / "docs" / "00-basics.md").read_text("utf-8")[:3000]
    template = load_template(model.loaded.folder, model.loaded.tokenizer)
    assert template is not None
    question = [{"role": "user", "content": f"Summarise this text:\n\n{text}"}]
    prompt = model.loaded.tokenizer.encode(template.render(question, add_generation_prompt=True), allow_special=True)
    rates: dict[int, list[float]] = {0: [], GUESSES: []}
    texts = {}
    for _ in range(TIMES):
        for guesses, found in rates.items():
            stream = generate(model.loaded.network, [prompt], choice=Choice(temperature=0, lookup=guesses),
                              max_tokens=SUMMARY)
            ids = [next(stream)[1]]
            started = time.perf_counter()
            ids += [token for _, token in stream]
            found.append((len(ids) - 1) / (time.perf_counter() - started))
            texts[guesses] = ids
    plain, guessed = (statistics.median(found) for found in rates.values())
    return row(f"{GUESSES} guesses a pass on a summarising prompt, float32", unit="tokens/s", ours=guessed, peer=plain,
               peer_name="Tohum without", goal=1.5, same_text=texts[0] == texts[GUESSES])


def main() -> None:
    """Import and export once, then measure."""
    if len(sys.argv) == 3:
        return answer(*sys.argv[1:])
    if not (MODEL / "config.json").is_file():
        tohum("import", SOURCE, "--out", MODEL, "--force")
    for _, kind in PRECISIONS.values():
        if not (WORK / f"smollm2-{kind}.gguf").is_file():
            tohum("export", MODEL, "--to", "gguf", "--dtype", kind, "--out", WORK / f"smollm2-{kind}.gguf", "--force")
    rows = [found for precision in PRECISIONS for what, count in WORK_ITEMS
            for found in measure(precision, what, count)]
    record("decode_speed", {"rows": [*rows, *several_rows(rows), lookup()]})


if __name__ == "__main__":
    main()
