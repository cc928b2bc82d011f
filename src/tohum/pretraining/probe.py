"""A short trial of the real thing: resolved recipe -> seconds per step, seconds per validation, peak memory.

The trial trains on the run's own first batches with a network of its own, and is thrown away.
"""

import statistics
import time
from dataclasses import dataclass

from tohum.data_sampling.shards import DataFolder
from tohum.evaluation.perplexity import evaluate
from tohum.machine import Watchdog, peak_memory_bytes
from tohum.model.config import ModelConfig
from tohum.pretraining.build import Built, build
from tohum.pretraining.config import ResolvedRecipe
from tohum.pretraining.watch import validation
from tohum.training.ranks import Ranks
from tohum.training.step import optimizer_step

WARM_STEPS = 2  # memory is faulted in, kernels are chosen
EVALUATION_PROBE_ROWS = 16


@dataclass(frozen=True, kw_only=True)
class Measured:
    """What a trial showed."""

    step_seconds: float
    row_evaluation_seconds: float  # per validation window
    peak_memory_bytes: int


def probe(recipe: ResolvedRecipe, config: ModelConfig, data: DataFolder, seconds: float, ranks: Ranks) -> Measured:
    """Train for about `seconds` (at least three steps) and validate a few windows.

    All processes do so together, each with its part of every step; what the first one measured is what all return.
    """
    recipe = recipe.with_training(compile=False)
    built = build(recipe, config, data, ranks)
    started, times, step = time.perf_counter(), [], 0
    with Watchdog() as watchdog:
        while step < WARM_STEPS + 1 or ranks.first([time.perf_counter() - started])[0] < seconds:
            before = time.perf_counter()
            optimizer_step(built.parts, step, lr_multiplier=0.01, clip_norm=recipe.training.clip_norm)
            times.append(time.perf_counter() - before)
            step += 1
        rows = min(evaluation_seconds(recipe, built, data) for _ in range(2)) / EVALUATION_PROBE_ROWS
    device = built.precision.device
    peak = peak_memory_bytes(device) if device.type == "cuda" else watchdog.peak_bytes
    step_seconds, rows, peak = ranks.first([statistics.median(times[WARM_STEPS:]), rows, peak])
    return Measured(step_seconds=step_seconds, row_evaluation_seconds=rows, peak_memory_bytes=int(peak))


def evaluation_seconds(recipe: ResolvedRecipe, built: Built, data: DataFolder) -> float:
    """Time to validate EVALUATION_PROBE_ROWS windows; a text without a validation part costs nothing."""
    before = time.perf_counter()
    if data.val_tokens > 1:
        evaluate(built.network, validation(data, recipe, EVALUATION_PROBE_ROWS), data.tokenizer.byte_lengths,
                 dtype=built.precision.dtype, device=built.precision.device)
    return time.perf_counter() - before
