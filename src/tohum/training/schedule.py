"""Learning-rate schedules: step -> multiplier of the peak rate. Pure functions; nothing to checkpoint but the step."""

import math
from typing import Literal

from pydantic import Field, NonNegativeFloat, PositiveInt

from tohum.config import Config


class ScheduleConfig(Config):
    """`[schedule]`: warm-up, then cosine, linear, warm-up-stable-decay (wsd) or constant."""

    kind: Literal["cosine", "linear", "wsd", "constant"] = "wsd"
    warmup_fraction: NonNegativeFloat = Field(default=0.02, le=1.0)  # of all steps
    decay_fraction: NonNegativeFloat = Field(default=0.65, le=1.0)  # wsd: last part of all steps
    floor_fraction: NonNegativeFloat = Field(default=0.0, le=1.0)  # of the peak, at the end


class Shortening(Config):
    """A run that turned out slower: from step `at` on, the rest of the schedule is run through in fewer steps."""

    at: PositiveInt
    steps: PositiveInt  # new total


def lr_multiplier(step: int, steps: int, schedule: ScheduleConfig, shortening: Shortening | None = None) -> float:
    """Multiplier for 0-based `step` of `steps`; > 0 at step 0, and the warm-up never eats the whole run.

    The first step has 1/warmup of the peak; the last step is the last value above the floor.
    """
    position = float(step)
    if shortening and step >= shortening.at:
        rest = max(1, shortening.steps - shortening.at)
        position = shortening.at + (step - shortening.at) * (steps - shortening.at) / rest
    warmup = min(round(schedule.warmup_fraction * steps), steps // 2)
    if position < warmup:
        return (position + 1) / (warmup + 1)
    return schedule.floor_fraction + (1 - schedule.floor_fraction) * shape(position, warmup, steps, schedule)


def shape(position: float, warmup: int, steps: int, schedule: ScheduleConfig) -> float:
    """1 after the warm-up, 0 at `steps` (which is one past the last step)."""
    done = (position - warmup) / max(1, steps - warmup)  # 0 … < 1
    if schedule.kind == "cosine":
        return 0.5 * (1 + math.cos(math.pi * done))
    if schedule.kind == "linear":
        return 1 - done
    if schedule.kind == "wsd":
        decay = max(1.0, schedule.decay_fraction * steps)
        return min(1.0, (steps - position) / decay)
    return 1.0
