"""Milliseconds of causal attention, forward + backward, in bfloat16 on a CPU: torch's kernel and ours.

python benchmarks/attention.py
"""

import statistics
import time

import torch
import torch.nn.functional as F

from tohum.attention.narrow import NarrowAttention

TOKENS, HEADS, HEAD_WIDTH, ROUNDS = 2048, 4, 64, 9


def milliseconds(way, parts) -> float:
    started = time.perf_counter()
    way(*parts).sum().backward()
    return 1000 * (time.perf_counter() - started)


def main() -> None:
    torch.set_num_threads(1)
    ways = {"torch": lambda q, k, v: F.scaled_dot_product_attention(q, k, v, is_causal=True),
            "ours": lambda q, k, v: NarrowAttention.apply(q, k, v, None, HEAD_WIDTH**-0.5)}
    print(f"| T | {' | '.join(ways)} |")
    for tokens in (64, 256, 512, 1024):
        shape = (TOKENS // tokens, tokens, HEADS, HEAD_WIDTH)
        parts = [torch.randn(shape).bfloat16().transpose(1, 2).requires_grad_() for _ in range(3)]
        # Alternated, so that a slower moment of the machine hits both.
        rounds = [[milliseconds(way, parts) for way in ways.values()] for _ in range(ROUNDS)]
        medians = (statistics.median(column) for column in zip(*rounds[2:], strict=True))
        print(f"| {tokens} | " + " | ".join(f"{value:.1f} ms" for value in medians) + " |")


if __name__ == "__main__":
    main()
