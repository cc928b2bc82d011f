"""Time budgets: a run at another pace than planned runs through the rest of its schedule in fewer or more steps."""

import time
from collections import deque
from collections.abc import Callable
from dataclasses import replace

from tohum.machine import process_seconds
from tohum.training.journal import Journal
from tohum.training.schedule import Stretch, schedule_position
from tohum.training.state import TrainState

WINDOW_FRACTION, WINDOW_STEPS = 0.2, 40  # of the planned steps, and at least: the pace of these last ones counts
MARKS = (0.25, 0.4, 0.55, 0.7, 0.8, 0.9, 0.95)  # of the schedule: where the pace is judged
EARLY_SAFETY = 1.2  # a pace of few steps, without a validation among them
SAFETY = 1.02  # aim to end a little early
WORTH_FILLING = 0.03  # of the time that is left


class Budget:
    """Seconds of this process that a run may take, the work after the last step included.

    fills: a run that is faster than planned takes more steps, too.
    after_steps: judge the pace once, after so many steps already, for a run that was not planned by a trial.
    """

    def __init__(self, seconds: float, closing_seconds: float, planned_steps: int, *, fills: bool = False,
                 after_steps: int | None = None):
        self.seconds, self.closing_seconds, self.planned = seconds, closing_seconds, planned_steps
        self.fills, self.after_steps = fills, after_steps
        self.times: deque[float] = deque(maxlen=max(WINDOW_STEPS, round(WINDOW_FRACTION * planned_steps)) + 1)

    def left_seconds(self) -> float:
        """Time for training steps from now on."""
        return self.seconds - self.closing_seconds - process_seconds()

    def check(self, state: TrainState) -> TrainState:
        """The state with a stretch when the rest does not fit; when not one more step does, this was the last."""
        self.times.append(time.perf_counter())
        left, last = self.left_seconds(), state.last_step(self.planned)
        pace = (self.times[-1] - self.times[0]) / max(1, len(self.times) - 1)
        if left <= pace and state.step < last:
            return self.stretched(state, state.step)
        if not self.judges(state):
            return state
        wanted = (last - state.step) * pace
        if wanted <= left and not (self.fills and wanted < left * (1 - WORTH_FILLING)):
            return state
        fitting = state.step + max(1, int(left / (pace * (EARLY_SAFETY if self.after_steps else SAFETY))))
        fitting = fitting if self.fills else min(fitting, last)
        return state if fitting == last else self.stretched(state, fitting)

    def judges(self, state: TrainState) -> bool:
        """Whether the pace is known well enough, and this is a step at which it is looked at."""
        if self.after_steps:
            return state.stretch is None and len(self.times) > self.after_steps
        before, now = (schedule_position(step, self.planned, state.stretch) / self.planned
                       for step in (state.step - 1, state.step))
        return len(self.times) > WINDOW_STEPS // 2 and any(before < mark <= now for mark in MARKS)

    def stretched(self, state: TrainState, steps: int) -> TrainState:
        """The rest of the schedule in so many steps altogether."""
        position = schedule_position(state.step, self.planned, state.stretch)
        return replace(state, stretch=Stretch(at=state.step, steps=steps, position=position))

    def adjust(self, state: TrainState, journal: Journal, say: Callable[[str], None]) -> TrainState:
        """`check`, with a line in the journal and one for a person when the number of steps changed."""
        adjusted, before = self.check(state), state.last_step(self.planned)
        if adjusted.stretch and adjusted.stretch != state.stretch:
            over, steps = adjusted.stretch.at == adjusted.stretch.steps, adjusted.stretch.steps
            event = "deadline" if over else "shortened" if steps < before else "lengthened"
            journal.write("event", event=event, step=state.step, seconds=round(state.seconds, 3), steps=steps,
                          planned=self.planned)
            why = "slower than planned" if steps < before else "faster than planned"
            why = "not all steps fit" if self.after_steps else why  # whose number nobody measured
            say(f"the budget is over: ending with step {state.step:,}" if over else
                f"{why}: {steps:,} steps instead of {before:,}, to end inside the budget")
        return adjusted
