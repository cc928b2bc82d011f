"""Time budgets: a run that turns out slower than planned shortens the rest of its schedule, once."""

import time
from collections import deque
from dataclasses import replace

from tohum.machine import process_seconds
from tohum.training.schedule import Shortening
from tohum.training.state import TrainState

WINDOW_FRACTION, WINDOW_STEPS = 0.2, 40  # of the planned steps, and at least: the pace of these last ones counts
EARLIEST_FRACTION = 0.25  # of the steps: before, the pace is not known well enough
SAFETY = 1.02  # a shortened run aims to end a little early: it may not be shortened again


class Budget:
    """Seconds of this process that a run may take, the work after the last step included."""

    def __init__(self, seconds: float, closing_seconds: float, planned_steps: int):
        self.seconds, self.closing_seconds, self.planned = seconds, closing_seconds, planned_steps
        self.times: deque[float] = deque(maxlen=max(WINDOW_STEPS, round(WINDOW_FRACTION * planned_steps)) + 1)

    def left_seconds(self) -> float:
        """Time for training steps from now on."""
        return self.seconds - self.closing_seconds - process_seconds()

    def check(self, state: TrainState) -> TrainState:
        """The state with a shortening when the rest does not fit; when not one more step does, this was the last."""
        self.times.append(time.perf_counter())
        left = self.left_seconds()
        pace = (self.times[-1] - self.times[0]) / max(1, len(self.times) - 1)
        if left <= pace and state.step < state.last_step(self.planned):
            return replace(state, shortening=Shortening(at=state.step, steps=state.step))
        late_enough = state.step >= EARLIEST_FRACTION * self.planned and len(self.times) > WINDOW_STEPS // 2
        if state.shortening or not late_enough:
            return state
        rest = self.planned - state.step
        if rest * pace <= left:
            return state
        steps = state.step + max(1, int(left / (pace * SAFETY)))
        return replace(state, shortening=Shortening(at=state.step, steps=min(steps, self.planned)))
