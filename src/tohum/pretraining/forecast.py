"""Predictions on the way: the losses seen so far -> bits per byte at the end, finish time, at 10 % and 25 %.

The last validation says where the model stands; what training has gained since then carries it on to now.
"""

import math
from collections import deque
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

from tohum.machine import peak_memory_bytes
from tohum.pretraining.predict import Curve, Prediction, predict_from_curve
from tohum.training.journal import Journal, read_lines
from tohum.training.state import TrainState

FRACTIONS = (0.1, 0.25)
WINDOW_FRACTION = 0.04  # of the steps: training losses are averaged over it


def look_step(fraction: float, steps: int) -> int:
    """One after the step at this fraction: a validation that was due there has been made."""
    return max(2, math.ceil(fraction * steps)) + 1


class Standing:
    """Validation bits per byte as they are now, from the validations and training losses so far."""

    def __init__(self, steps: int):
        self.losses: deque[float] = deque(maxlen=max(4, round(WINDOW_FRACTION * steps)))
        self.validated: tuple[float, float] | None = None  # bits per byte, mean training loss at that moment

    def note(self, line: dict[str, Any]) -> None:
        """Take a line of the journal; other kinds than `step` and `evaluation` say nothing here."""
        if line["kind"] == "step":
            self.losses.append(line["loss"])
        elif line["kind"] == "evaluation" and self.losses:
            self.validated = line["bits_per_byte"], self.mean_loss()

    def mean_loss(self) -> float:
        """Nats per token over the window."""
        return sum(self.losses) / len(self.losses)

    def now(self) -> float | None:
        """The last validation times what the training loss has done since; None before the first one."""
        if self.validated is None:
            return None
        bits, then = self.validated
        return bits * self.mean_loss() / then


def curve_at(fraction: float, steps: int, lines: Sequence[dict[str, Any]]) -> Curve | None:
    """What a run's journal says at one of the FRACTIONS; None where there was no validation yet."""
    earlier = [each for each in FRACTIONS if each < fraction]
    now, before = (standing_at(each, steps, lines) for each in (fraction, earlier[-1] if earlier else fraction))
    if now is None or before is None:
        return None
    return Curve(fraction=fraction, now=now, before=before if earlier else None)


def standing_at(fraction: float, steps: int, lines: Sequence[dict[str, Any]]) -> float | None:
    """Validation bits per byte at a fraction of the steps."""
    standing = Standing(steps)
    for line in lines:
        if line.get("step", 0) < look_step(fraction, steps):
            standing.note(line)
    return standing.now()


@dataclass
class Forecast:
    """Writes a line of kind `prediction` at each of the fractions."""

    steps: int
    prior: Prediction
    started: tuple[float, int] | None = field(default=None, init=False)  # seconds and step of the first look

    def look(self, state: TrainState, journal: Journal) -> None:
        """After a step."""
        if self.started is None:
            self.started = state.seconds, state.step
        for fraction in FRACTIONS:
            if state.step == look_step(fraction, self.steps):
                curve = curve_at(fraction, self.steps, read_lines(journal.metrics))
                if curve:
                    self.write(fraction, predict_from_curve(curve, self.prior), state, journal)

    def write(self, fraction: float, made: Prediction, state: TrainState, journal: Journal) -> None:
        """The line of the journal."""
        seconds, step = self.started or (0.0, 0)
        pace = (state.seconds - seconds) / max(1, state.step - step)
        journal.write("prediction", step=state.step, fraction=fraction, seconds=round(state.seconds, 3),
                      bits_per_byte=made.bits_per_byte, low=made.low, high=made.high,
                      finish_seconds=round(state.seconds + pace * (self.steps - state.step), 1),
                      peak_memory_bytes=peak_memory_bytes())
