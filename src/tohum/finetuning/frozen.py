"""Frozen blocks: what blocks without gradients make of each example -> vectors, computed once and read every epoch.

With `--train head` or `last-block` nearly all of the network never changes: its residual stream in front of the
first trained block is the same in every epoch. It is computed once (all dropout off, as the frozen blocks are not
trained) and kept in a file of the run folder, mapped and not loaded: tokens x D float32.
"""

import sys
import time
from pathlib import Path

import numpy as np
import torch

from tohum.finetuning.examples import ExampleSet
from tohum.finetuning.layout import Vectors, groups
from tohum.generation.mode import evaluating
from tohum.model.network import Network
from tohum.training.objective import Precision
from tohum.training.progress import FIRST_LINE_SECONDS, LINE_EVERY_SECONDS
from tohum.units import human_seconds


@torch.no_grad()
def frozen_vectors(network: Network, examples: ExampleSet, *, first_block: int, precision: Precision, path: Path,
                   micro_tokens: int) -> Vectors:
    """(tokens, D) in the order of the examples' ids. Anew at every start: the same bits, for the passes are the same.

    A line with the time left appears on stderr now and then.
    """
    shape = (examples.tokens, network.config.width)
    made = np.lib.format.open_memmap(path, mode="w+", dtype=np.float32, shape=shape)
    order = np.argsort(-examples.lengths, kind="stable")
    clock = Clock(examples.tokens)
    with evaluating(network), precision.autocast():
        for group in groups(examples.lengths, [[int(number)] for number in order], micro_tokens):
            numbers = [row[0] for row in group]
            longest = int(examples.lengths[numbers[0]])
            ids = torch.zeros(len(numbers), longest, dtype=torch.int64)
            for line, number in enumerate(numbers):
                start, size = int(examples.starts[number]), int(examples.lengths[number])
                ids[line, :size] = torch.from_numpy(examples.ids[start : start + size].astype(np.int64))
            found = network.stream(ids.to(precision.device), blocks=range(first_block)).float().numpy(force=True)
            for line, number in enumerate(numbers):
                start, size = int(examples.starts[number]), int(examples.lengths[number])
                made[start : start + size] = found[line, :size]
            clock.add(int(examples.lengths[numbers].sum()))
    return made


class Clock:
    """Tells now and then how long it still takes."""

    def __init__(self, tokens: int):
        self.started, self.tokens, self.done = time.monotonic(), tokens, 0
        self.next = self.started + FIRST_LINE_SECONDS

    def add(self, tokens: int) -> None:
        """So many more are done."""
        self.done += tokens
        now = time.monotonic()
        if now >= self.next:
            self.next = now + LINE_EVERY_SECONDS
            left = (now - self.started) / self.done * (self.tokens - self.done)
            print(f"frozen blocks: {self.done:,}/{self.tokens:,} tokens · {human_seconds(left)} left", file=sys.stderr)
