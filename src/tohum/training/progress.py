"""Progress for a person: a bar with the time left on a terminal, a plain line now and then elsewhere."""

import sys
import time
from typing import Any

from tohum.training.state import TrainState
from tohum.training.step import StepResult
from tohum.units import human_count, human_seconds

FIRST_LINE_SECONDS, LINE_EVERY_SECONDS = 5.0, 15.0


class Progress:
    """Prints to stderr on the main rank only; `overhead_seconds` of closing work are part of the time left."""

    def __init__(self, steps: int, tokens_per_step: int, *, enabled: bool = True, overhead_seconds: float = 0.0):
        self.steps, self.tokens_per_step, self.overhead_seconds = steps, tokens_per_step, overhead_seconds
        self.enabled = enabled
        self.bar: Any = None
        self.started: float | None = None
        self.first_step = 0
        self.next_line = 0.0

    def __enter__(self) -> "Progress":
        if self.enabled and sys.stderr.isatty():
            from rich.console import Console
            from rich.progress import BarColumn, Progress, TextColumn

            self.bar = Progress(BarColumn(), TextColumn("{task.description}"), console=Console(stderr=True))
            self.bar.start()
            self.task = self.bar.add_task("starting", total=self.steps)
        return self

    def __exit__(self, *_: object) -> None:
        if self.bar:
            self.bar.stop()

    def say(self, message: str) -> None:
        """A line that stays."""
        if not self.enabled:
            return
        if self.bar:
            self.bar.console.print(message, highlight=False, markup=False)
        else:
            print(message, file=sys.stderr, flush=True)

    def step(self, state: TrainState, result: StepResult) -> None:
        """After each step."""
        now = time.monotonic()
        if self.started is None:  # the first step is slower: it compiles, faults memory in, fills caches
            self.started, self.first_step, self.next_line = now, state.step, now + FIRST_LINE_SECONDS
            return
        if not self.enabled or (not self.bar and now < self.next_line):
            return
        self.next_line = now + LINE_EVERY_SECONDS
        steps = state.last_step(self.steps)
        pace = (now - self.started) / max(1, state.step - self.first_step)
        left = pace * (steps - state.step) + self.overhead_seconds
        text = (f"step {state.step:,}/{steps:,} · loss {result.loss:.3f} · "
                f"{human_count(self.tokens_per_step / pace)} tokens/s · {human_seconds(left)} left")
        if self.bar:
            self.bar.update(self.task, completed=state.step, total=steps, description=text)
        else:
            print(text, file=sys.stderr, flush=True)
