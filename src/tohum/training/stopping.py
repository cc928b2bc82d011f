"""Stopping on purpose: signals are noted, and the loop saves and leaves at the next safe point."""

import signal
import time
from collections.abc import Iterable, Iterator
from types import FrameType
from typing import TypeVar

from tohum.errors import StoppedError

Item = TypeVar("Item")
STOPPED_EARLY = 75  # EX_TEMPFAIL: run again with --resume


class StopRequested(Exception):
    """Raised inside an evaluation that is given up because the run is to stop."""


class StopRequests:
    """Notes SIGINT, SIGTERM and the end of --max-hours while it is entered; a second Ctrl-C stops at once."""

    def __init__(self, max_seconds: float | None = None):
        self.signal_number = 0
        self.deadline = time.monotonic() + max_seconds if max_seconds is not None else None

    def __enter__(self) -> "StopRequests":
        self._before = {n: signal.signal(n, self._note) for n in (signal.SIGINT, signal.SIGTERM)}
        return self

    def __exit__(self, *_: object) -> None:
        for number, handler in self._before.items():
            signal.signal(number, handler)

    def _note(self, number: int, _: FrameType | None) -> None:
        if self.signal_number == number == signal.SIGINT:
            raise KeyboardInterrupt
        self.signal_number = number

    @property
    def pending(self) -> bool:
        """Something asked this process to stop."""
        return bool(self.signal_number) or (self.deadline is not None and time.monotonic() >= self.deadline)

    def guard(self, items: Iterable[Item]) -> Iterator[Item]:
        """The same items, given up with StopRequested as soon as a stop is pending."""
        for item in items:
            if self.pending:
                raise StopRequested
            yield item

    def error(self, step: int, run: object) -> StoppedError:
        """What the process ends with after saving."""
        names = {signal.SIGINT: "stopped by Ctrl-C", signal.SIGTERM: "stopped by SIGTERM"}
        cause = names[signal.Signals(self.signal_number)] if self.signal_number else "max_hours reached"
        code = 128 + self.signal_number if self.signal_number else STOPPED_EARLY
        saved = f"checkpoint of step {step} saved in {run}" if step else f"no step was done yet in {run}"
        return StoppedError(f"{cause}; {saved}\nrun again with --resume", code)
