"""The peers of benchmarks/quality_per_minute.py: `quality_peers.py PEER CHECKOUT DATA SEED SECONDS` trains so long.

DATA holds train.npy and val.npy (ids) and bytes.npy (bytes of each id). Both peers have 4 layers of width 128, context
64 and 12 rows, as nanoGPT's recipe for a CPU has it, in float32, compiled; their schedules run over the given seconds
in place of steps. Loading, compiling and the final evaluation are off the clock. It imports nothing of Tohum.
"""

import contextlib
import json
import math
import sys
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np
import torch

LAYERS, HEADS, WIDTH, CONTEXT, ROWS = 4, 4, 128, 64, 12
WARM_STEPS = 3  # they compile
Loss = Callable[[torch.Tensor, torch.Tensor], torch.Tensor]
Step = Callable[[int, float], None]  # number of the step, share of the time that is over


def nanogpt(checkout: str, vocabulary: int) -> tuple[torch.nn.Module, Loss, Step]:
    """AdamW at 1e-3, 100 steps of warm-up, a cosine down to 1e-4, gradients clipped at 1."""
    sys.path.insert(0, checkout)
    from model import GPT, GPTConfig

    model = GPT(GPTConfig(block_size=CONTEXT, vocab_size=vocabulary, n_layer=LAYERS, n_head=HEADS, n_embd=WIDTH,
                          dropout=0.0, bias=False))
    optimizer = model.configure_optimizers(0.1, 1e-3, (0.9, 0.99), "cpu")

    def step(number: int, over: float) -> None:
        warm = min(1.0, (number + 1) / 100)
        for group in optimizer.param_groups:
            group["lr"] = warm * (1e-4 + 0.5 * (1 + math.cos(math.pi * min(1.0, over))) * 9e-4)
        torch.nn.utils.clip_grad_norm_(model.parameters(), 1.0)
        optimizer.step()
        optimizer.zero_grad(set_to_none=True)

    return model, lambda inputs, targets: model(inputs, targets)[1], step


def nanochat(checkout: str, vocabulary: int) -> tuple[torch.nn.Module, Loss, Step]:
    """Muon and AdamW with its rates and its schedules: 40 steps of warm-up, the last 65 % down to a twentieth."""
    sys.path.insert(0, checkout)
    from nanochat.gpt import GPT, GPTConfig

    model = GPT(GPTConfig(sequence_len=CONTEXT, vocab_size=vocabulary, n_layer=LAYERS, n_head=HEADS, n_kv_head=HEADS,
                          n_embd=WIDTH, window_pattern="L"))
    model.init_weights()
    optimizer = model.setup_optimizer()

    def step(number: int, over: float) -> None:
        down = min(1.0, (1 - min(1.0, over)) / 0.65)
        rate = min(1.0, (number + 1) / 40) * (down + (1 - down) * 0.05)
        momentum = 0.85 + min(1.0, number / 400) * 0.12 if down == 1.0 else 0.97 * down + 0.90 * (1 - down)
        for group in optimizer.param_groups:
            group["lr"] = group["initial_lr"] * rate
            if group["kind"] == "muon":
                group["momentum"] = momentum
        optimizer.step()
        model.zero_grad(set_to_none=True)

    return model, lambda inputs, targets: model(inputs, targets), step


def train(loss: Loss, step: Step, ids: torch.Tensor, chance: torch.Generator, *, seconds: float, steps: int) -> int:
    """Until the time, or the number of steps, is over. Returns the steps."""
    started, number = time.perf_counter(), 0
    while number < steps and (over := (time.perf_counter() - started) / seconds) < 1:
        starts = torch.randint(len(ids) - CONTEXT, (ROWS,), generator=chance)[:, None] + torch.arange(CONTEXT + 1)
        rows = ids[starts]
        loss(rows[:, :-1].contiguous(), rows[:, 1:].contiguous()).backward()
        step(number, over)
        number += 1
    return number


@torch.no_grad()
def bits_per_byte(model: torch.nn.Module, loss: Loss, ids: torch.Tensor, lengths: torch.Tensor) -> float:
    """Over the whole text, in windows side by side; the last one is shorter."""
    model.eval()
    nats = 0.0
    for at in range(0, len(ids) - 1, CONTEXT):
        inputs, targets = ids[at : at + CONTEXT][None], ids[at + 1 : at + 1 + CONTEXT][None]
        nats += float(loss(inputs[:, : targets.shape[1]], targets)) * targets.numel()
    return nats / math.log(2) / int(lengths[ids[1:]].sum())


def main() -> None:
    """Train and print one JSON object."""
    peer, checkout, data, seed, seconds = sys.argv[1:]
    train_ids, val_ids, lengths = (torch.from_numpy(np.load(Path(data, f"{name}.npy")).astype(np.int64))
                                   for name in ("train", "val", "bytes"))
    with contextlib.redirect_stdout(sys.stderr):
        for repetition in (WARM_STEPS, 10**9):  # the first builds and compiles, and is thrown away
            torch.manual_seed(int(seed))
            model, loss, step = {"nanoGPT": nanogpt, "nanochat": nanochat}[peer](checkout, len(lengths))
            compiled = torch.compile(loss)
            chance = torch.Generator().manual_seed(int(seed))
            model.train()
            limit = 3600.0 if repetition == WARM_STEPS else float(seconds)
            steps = train(compiled, step, train_ids, chance, seconds=limit, steps=repetition)
        found = bits_per_byte(model, loss, val_ids, lengths)
    print(json.dumps({"val_bits_per_byte": found, "steps": steps,
                      "parameters": sum(parameter.numel() for parameter in model.parameters())}))


if __name__ == "__main__":
    main()
