"""Predictions on the way: the losses seen so far -> bits per byte at the end, finish time, at 10 % and 25 %."""

import math
from collections import deque
from dataclasses import dataclass, field

from tohum.machine import peak_memory_bytes
from tohum.pretraining.predict import Curve, Prediction, predict_from_curve
from tohum.training.journal import Journal
from tohum.training.state import TrainState

FRACTIONS = (0.1, 0.25)
WINDOW_FRACTION = 0.04  # of the steps: losses are averaged over it


@dataclass
class Forecast:
    """Looks at the training loss; `bytes_per_token` turns nats per token into bits per byte."""

    steps: int
    bytes_per_token: float
    prior: Prediction
    predictions: dict[float, Prediction] = field(default_factory=dict)
    losses: deque[float] = field(init=False)
    started_seconds: float | None = field(default=None, init=False)
    started_step: int = field(default=0, init=False)

    def __post_init__(self) -> None:
        self.losses = deque(maxlen=max(4, round(WINDOW_FRACTION * self.steps)))

    def look(self, state: TrainState, journal: Journal) -> None:
        """Note a step's loss; at the fractions write a line of kind `prediction`."""
        if self.started_seconds is None:
            self.started_seconds, self.started_step = state.seconds, state.step
        self.losses.append(state.loss if state.loss is not None else math.nan)
        for fraction in FRACTIONS:
            if state.step == max(2, round(fraction * self.steps)) and fraction not in self.predictions:
                self.predictions[fraction] = self.now(fraction)
                self.write(fraction, state, journal)

    def now(self, fraction: float) -> Prediction:
        """The prediction from the losses of the last window."""
        nats = sum(self.losses) / len(self.losses)
        bits_per_byte = nats / math.log(2) / self.bytes_per_token
        return predict_from_curve(Curve(fraction=fraction, train_bits_per_byte=bits_per_byte), self.prior)

    def write(self, fraction: float, state: TrainState, journal: Journal) -> None:
        """The line of the journal."""
        made = self.predictions[fraction]
        pace = (state.seconds - (self.started_seconds or 0.0)) / max(1, state.step - self.started_step)
        journal.write("prediction", step=state.step, fraction=fraction, seconds=round(state.seconds, 3),
                      bits_per_byte=made.bits_per_byte, low=made.low, high=made.high,
                      finish_seconds=round(state.seconds + pace * (self.steps - state.step), 1),
                      peak_memory_bytes=peak_memory_bytes())
