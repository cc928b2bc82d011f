"""Time budgets: a run that turns out slower than planned shortens the rest of its schedule, once."""

import time
from collections import deque
from collections.abc import Callable
from dataclasses import replace

from tohum.machine import process_seconds
from tohum.training.journal import Journal
from tohum.training.schedule import Shortening
from tohum.training.state import TrainState

WINDOW_FRACTION, WINDOW_STEPS = 0.2, 40  # of the planned steps, and at least: the pace of these last ones counts
EARLIEST_FRACTION = 0.25  # of the steps: before, the pace is not known well enough
EARLY_SAFETY = 1.2  # a pace of few steps, without a validation among them
SAFETY = 1.02  # a shortened run aims to end a little early: it may not be shortened again


class Budget:
    """Seconds of this process that a run may take, the work after the last step included.

    after_steps: judge the pace after so many steps already, for a run that was not planned by a trial.
    """

    def __init__(self, seconds: float, closing_seconds: float, planned_steps: int, after_steps: int | None = None):
        self.seconds, self.closing_seconds, self.planned = seconds, closing_seconds, planned_steps
        self.after_steps = after_steps
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
        late_enough = (len(self.times) > self.after_steps if self.after_steps else
                       state.step >= EARLIEST_FRACTION * self.planned and len(self.times) > WINDOW_STEPS // 2)
        if state.shortening or not late_enough:
            return state
        rest = self.planned - state.step
        if rest * pace <= left:
            return state
        steps = state.step + max(1, int(left / (pace * (EARLY_SAFETY if self.after_steps else SAFETY))))
        return replace(state, shortening=Shortening(at=state.step, steps=min(steps, self.planned)))

    def adjust(self, state: TrainState, journal: Journal, say: Callable[[str], None]) -> TrainState:
        """`check`, with a line in the journal and one for a person when the schedule was shortened."""
        adjusted = self.check(state)
        if adjusted.shortening and adjusted.shortening != state.shortening:
            over = adjusted.shortening.at == adjusted.shortening.steps
            journal.write("event", event="deadline" if over else "shortened", step=state.step,
                          seconds=round(state.seconds, 3), steps=adjusted.shortening.steps, planned=self.planned)
            say(f"the budget is over: ending with step {state.step:,}" if over else
                f"slower than planned: {adjusted.shortening.steps:,} steps instead of {self.planned:,}, to end inside "
                "the budget")
        return adjusted
