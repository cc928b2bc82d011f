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


class Stretch(Config):
    """A run at another pace than planned: from step `at` on, the rest of the schedule is run through in fewer steps
    or in more."""

    at: PositiveInt
    steps: PositiveInt  # new total
    position: NonNegativeFloat  # planned steps that the schedule is through at `at`


def schedule_position(step: int, steps: int, stretch: Stretch | None) -> float:
    """Where `step` stands among the `steps` that were planned."""
    if stretch is None or step < stretch.at:
        return float(step)
    rest = max(1, stretch.steps - stretch.at)
    return stretch.position + (step - stretch.at) * (steps - stretch.position) / rest


def lr_multiplier(step: int, steps: int, schedule: ScheduleConfig, stretch: Stretch | None = None) -> float:
    """Multiplier for 0-based `step` of `steps`; > 0 at step 0, and the warm-up never eats the whole run.

    The first step has 1/warmup of the peak; the last step is the last value above the floor.
    """
    position = schedule_position(step, steps, stretch)
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
