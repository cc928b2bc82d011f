"""Training step of a GPT-2 against its peers: `python -m benchmarks.train_step [a|b] [--peer-dir NANOGPT]`.

    a    6 layers of width 384, context 256, 8 rows, vocabulary 50,304
    b    GPT-2 124M: 12 layers of width 768, context 256, 4 rows

Random tokens, AdamW, gradients clipped; bf16 where the processor has its arithmetic, else float32; the peers compiled.
`plain` is the peer as its users have it; `given` with glibc told to keep memory, as we tell it, and the fused AdamW
(the arena for tensors is a part of ours). Every engine stays loaded, one step of each in turn; medians. The share is
that of the fastest matrix product of this run. Rows of a shape that is not named stay as they are.
"""

import argparse
import os
import sys
import time
from contextlib import ExitStack
from pathlib import Path
from statistics import median
from typing import Any

import torch
from benchmarks.common import record
from benchmarks.peers import python_with
from benchmarks.rows import merged, product_limit, row
from benchmarks.train_step_peers import CONTEXT, SHAPES, VOCABULARY
from benchmarks.worker import MEMORY, Ask, serve, worker

from tohum.data_sampling.batch import Batch
from tohum.kernels.memory import tune_memory
from tohum.machine import cores, has_bf16_arithmetic
from tohum.model.init import initialise
from tohum.model.network import Network
from tohum.model.presets import gpt2
from tohum.training.objective import Precision, language_objective
from tohum.training.optimizer import OptimizerConfig
from tohum.training.ranks import Ranks
from tohum.training.step import Optimizer, Parts, optimizer_step

ROUNDS = 5
GIVEN = {"MALLOC_MMAP_MAX_": "0", "MALLOC_TRIM_THRESHOLD_": str(2**31 - 1), "MALLOC_TOP_PAD_": str(64 * 2**20)}
PEER_DIR = "NANOGPT_DIR"
NAMES = {"a": "GPT-2 of 6 layers x 384, 8 x 256 tokens", "b": "GPT-2 124M, 4 x 256 tokens"}
MANNERS = {"plain": "peers as they are", "given": "peers with glibc told to keep memory and fused AdamW"}
MEMORY_GOALS = {"a": 0.75, "b": 0.9}
GOALS = {("a", "plain"): 1.4, ("b", "plain"): 1.25, ("a", "given"): 1.1, ("b", "given"): 1.05}


class Same:
    """The same rows at every step, in one pass."""

    def __init__(self, batch: Batch):
        self.batch = batch

    def step(self, step: int) -> list[Batch]:
        return [self.batch]

    def epoch(self, step: int) -> float:
        return 0.0


def ours(name: str, compiled: bool) -> None:
    """A worker: the very step that `tohum pretrain` makes."""
    tune_memory()
    torch.set_num_threads(cores())
    shape = SHAPES[name]
    config = gpt2(layers=shape["layers"], heads=shape["heads"], width=shape["width"]).replace(
        vocab_size=VOCABULARY, context=CONTEXT, dropout=0.0, attention_dropout=0.0)
    network = Network(config)
    initialise(network, torch.Generator().manual_seed(1))
    network.train()
    precision = Precision(dtype=torch.bfloat16 if has_bf16_arithmetic() else torch.float32, device=torch.device("cpu"))
    ids = torch.randint(0, VOCABULARY, (shape["rows"], CONTEXT + 1), generator=torch.Generator().manual_seed(1))
    batch = Batch(inputs=ids[:, :-1].contiguous(), targets=ids[:, 1:].contiguous())
    optimizer = Optimizer(network, OptimizerConfig(kind="adamw", lr=1e-4), products=precision.dtype)
    parts = Parts(network=network, optimizer=optimizer, batches=Same(batch), ranks=Ranks(),
                  objective=language_objective(network, precision, compiled=compiled))

    def run(_: str) -> float:
        started = time.perf_counter()
        optimizer_step(parts, 0, lr_multiplier=1.0, clip_norm=1.0)
        return batch.inputs.numel() / (time.perf_counter() - started)

    run("")
    serve(run)


def flops_per_token(shape: dict[str, int]) -> int:
    """6 (12 L D^2 + V D) + 12 L D T."""
    layers, width = shape["layers"], shape["width"]
    return 6 * (12 * layers * width**2 + VOCABULARY * width) + 12 * layers * width * CONTEXT


def measure(name: str, manner: str, nanogpt: str | None) -> dict[str, Any]:
    """One row: all engines in turn."""
    narrow = "bf16" if has_bf16_arithmetic() else "fp32"
    script = str(Path(__file__).with_name("train_step_peers.py"))
    litgpt = python_with("litgpt", "litgpt==0.5.13", "transformers<5")  # it does not start beside a later one
    peers = {"transformers": (sys.executable, []), "litgpt": (litgpt, [])}
    if nanogpt:
        peers["nanoGPT"] = (sys.executable, [nanogpt])
    before, limit_format = product_limit()
    with ExitStack() as stack:
        asked: dict[str, Ask] = {
            kind: stack.enter_context(worker(["-m", "benchmarks.train_step", "--serve", name, kind]))
            for kind in ("eager", "compiled")}
        for peer, (python, more) in peers.items():
            asked[peer] = stack.enter_context(worker(
                [script, peer, name, manner, narrow, *more], python=python,
                environment=os.environ | (GIVEN if manner == "given" else {})))
        rates = {engine: median(found) for engine, found in alternated(asked).items()}
        memory = {engine: ask(MEMORY) for engine, ask in asked.items()}
    limit = max(before, product_limit()[0])  # a machine is faster at one time than at another
    mine = max(("eager", "compiled"), key=rates.__getitem__)
    best = max(peers, key=rates.__getitem__)
    return row(f"step of {NAMES[name]}; {MANNERS[manner]}", part=name, unit="tokens/s", ours=rates[mine],
               peer=rates[best], peer_name=best, goal=GOALS[name, manner], memory=memory[mine],
               peer_memory=min(memory[peer] for peer in peers), packages=("transformers",), peer_python=litgpt,
               ours_is=mine, memory_goal=MEMORY_GOALS[name], all_rates=rates, all_memory=memory, format=narrow,
               limit=limit, limit_format=limit_format,
               share_of_limit=rates[mine] * flops_per_token(SHAPES[name]) / limit,
               peer_share_of_limit=rates[best] * flops_per_token(SHAPES[name]) / limit)


def alternated(asked: dict[str, Ask]) -> dict[str, list[float]]:
    """One step of each in turn."""
    found: dict[str, list[float]] = {engine: [] for engine in asked}
    for _ in range(ROUNDS):
        for engine, ask in asked.items():
            found[engine].append(ask("step"))
    return found


def main() -> None:
    """Measure and keep, or serve."""
    if sys.argv[1:2] == ["--serve"]:
        return ours(sys.argv[2], sys.argv[3] == "compiled")
    parser = argparse.ArgumentParser()
    parser.add_argument("shapes", nargs="*", choices=[[], *SHAPES], metavar="a|b", help="both without")
    parser.add_argument("--peer-dir", default=os.environ.get(PEER_DIR), help=f"a checkout of nanoGPT [${PEER_DIR}]")
    options = parser.parse_args()
    chosen = options.shapes or list(SHAPES)
    rows = [measure(name, manner, options.peer_dir) for name in chosen for manner in ("plain", "given")]
    record("train_step", {"rows": merged("train_step", rows),
                          "left_out": [] if options.peer_dir else ["nanoGPT: no --peer-dir"]})


if __name__ == "__main__":
    main()
