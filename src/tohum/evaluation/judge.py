"""Judge: answered prompts and an endpoint -> a score from 0 to 100 with a reason for each, and their mean.

What a judge says is appended to a file at once (judged_file.py). So a run that was killed goes on where it was, and
the same run again asks nothing. A row ends in one of three ways:

    scored      score and reason are in the file
    unscored    no reply held a score: noted in the file too, and not asked again
    no reply    time-outs, refusals: not in the file, so the next run asks again
"""

import queue
import random
import threading
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from tohum.errors import ConfigError, FailedError, StoppedError
from tohum.evaluation.answer_file import AnswerRow, Messages
from tohum.evaluation.bootstrap import Estimate, mean_estimate
from tohum.evaluation.endpoint import Endpoint, Refused, Trouble, Unreachable, ask
from tohum.evaluation.grading import REMINDER, REPLY_SCHEMA, question, read_grade
from tohum.evaluation.judged_file import JudgedFile, Judgement, key_of

FIRST_WAIT_SECONDS, LONGEST_WAIT_SECONDS = 1.0, 60.0  # between tries; doubled each time, shortened by chance
LONGEST_ASKED_WAIT_SECONDS = 300.0  # a server that asks for more (Retry-After) is not waited for
GIVE_UP_AFTER = 5  # rows in a row without a reply
STOPPED_BY_CTRL_C = 130
SHOWN_CHARACTERS = 200  # of a reply without a score


@dataclass(frozen=True, kw_only=True)
class Limits:
    """How hard an endpoint is asked."""

    concurrency: int = 4  # requests at once
    retries: int = 3  # further requests for a row, whatever was wrong with those before


@dataclass(frozen=True, kw_only=True)
class NoReply:
    """A row that is left for the next run, and why."""

    why: str


@dataclass(frozen=True, kw_only=True)
class Progress:
    """Where a run stands."""

    done: int
    total: int
    unscored: int
    mean: float | None
    seconds_left: float


@dataclass(frozen=True, kw_only=True)
class Judged:
    """All rows."""

    mean: Estimate  # over the scored rows
    scored: int
    unscored: int  # those without a reply too
    no_reply: int
    asked: int  # rows in this run
    out: Path


def judge(rows: Sequence[AnswerRow], endpoint: Endpoint, *, out: Path, limits: Limits,
          report: Callable[[Progress], None] = lambda _: None) -> Judged:
    """Ask for what `out` lacks; equal rows are asked once.

    Raises ConfigError (wrong URL or key, unreachable), FailedError (no row was scored; rows in a row without a reply),
    StoppedError (Ctrl-C); what was judged until then is in `out`.
    """
    file = JudgedFile(out)
    keys = [key_of(row, endpoint.model) for row in rows]
    waiting = {key: row for key, row in zip(keys, rows, strict=True) if key not in file.found}
    if waiting:
        Run(Session(endpoint, limits), file, waiting, keys).finish(report)
    found = [file.found.get(key) for key in keys]
    scores = [judgement.score for judgement in found if judgement is not None and judgement.score is not None]
    if not scores:
        last = next((judgement.reason for judgement in reversed(found) if judgement is not None), "no reply at all")
        raise FailedError(f"none of {len(rows):,} answers was scored; {last}\n"
                          f"try a larger judge than {endpoint.model}, or a longer --timeout")
    return Judged(mean=mean_estimate(scores), scored=len(scores), unscored=len(rows) - len(scores), asked=len(waiting),
                  no_reply=found.count(None), out=out)


class Session:
    """What the threads of a run share: whether anybody answered, when the next request may go out, the stop."""

    def __init__(self, endpoint: Endpoint, limits: Limits):
        self.endpoint, self.limits = endpoint, limits
        self.stop = threading.Event()
        self.heard = False
        self.not_before = 0.0  # on the monotonic clock
        self.options: dict[str, Any] = {"temperature": 0, "response_format": {
            "type": "json_schema", "json_schema": {"name": "grade", "strict": True, "schema": REPLY_SCHEMA}}}

    def settle(self, key: str, row: AnswerRow) -> Judgement | NoReply:
        """Ask until there is a score, or no try is left. Raises ConfigError."""
        messages, outcome = question(row), NoReply(why="stopped")
        for attempt in range(1, self.limits.retries + 2):
            self.stop.wait(max(0.0, self.not_before - time.monotonic()))
            if self.stop.is_set():
                return NoReply(why="stopped")
            try:
                reply = self.request(messages, strict=isinstance(outcome, Judgement))
            except Refused as error:
                return NoReply(why=str(error))
            except Trouble as error:
                outcome = NoReply(why=str(error))
                self.back_off(error, attempt)
                continue
            if grade := read_grade(reply):
                return Judgement(key=key, score=grade.score, reason=grade.reason, attempts=attempt)
            outcome = Judgement(key=key, score=None, attempts=attempt,
                                reason=f"no score in the reply: {reply[-SHOWN_CHARACTERS:]!r}")
            messages = reminded(row)
        return outcome

    def request(self, messages: Messages, *, strict: bool) -> str:
        """One reply; with `strict`, servers that can are told to let nothing but the JSON through."""
        while True:
            options = {name: value for name, value in self.options.items() if strict or name != "response_format"}
            try:
                reply = ask(self.endpoint, messages, options=options)
            except Unreachable as error:
                if self.heard:
                    raise
                raise ConfigError(f"{error}\nstart the server, or correct --endpoint") from None
            except Trouble:
                self.heard = True
                raise
            except Refused as error:
                self.heard = True
                self.forgo(options, error)
                continue
            self.heard = True
            return reply

    def forgo(self, options: Mapping[str, Any], error: Refused) -> None:
        """Do without what a server does not know, or a model does not allow; raise the error if that is not it."""
        blamed = [name for name in options if name in str(error)] or [name for name in options
                                                                      if name == "response_format"]
        if not blamed:
            raise error
        for name in blamed:
            self.options.pop(name, None)

    def back_off(self, error: Trouble, attempt: int) -> None:
        """Wait for longer each time; as long as the server asks, and then all threads do."""
        if attempt > self.limits.retries:
            return
        if error.wait_seconds is not None:
            if error.wait_seconds > LONGEST_ASKED_WAIT_SECONDS:
                raise FailedError(f"the server asks to wait {error.wait_seconds:,.0f} s ({error}); run the same "
                                  "command again after that, it goes on where it stopped")
            self.not_before = max(self.not_before, time.monotonic() + error.wait_seconds)
            return
        longest = min(LONGEST_WAIT_SECONDS, FIRST_WAIT_SECONDS * 2 ** (attempt - 1))
        self.stop.wait(longest * random.uniform(0.5, 1.0))  # not all threads at the same moment


def reminded(row: AnswerRow) -> Messages:
    """The question with its last sentence once more, so that a judge without chance does not repeat itself."""
    return [message | {"content": message["content"] + REMINDER} for message in question(row)]


class Run:
    """One pass over the rows that wait: threads ask, this one writes."""

    def __init__(self, session: Session, file: JudgedFile, waiting: Mapping[str, AnswerRow], keys: Sequence[str]):
        self.session, self.file, self.waiting, self.keys = session, file, waiting, keys
        self.jobs: queue.SimpleQueue[str] = queue.SimpleQueue()
        self.results: queue.SimpleQueue[tuple[str, Judgement | NoReply | BaseException]] = queue.SimpleQueue()
        for key in waiting:
            self.jobs.put(key)

    def work(self) -> None:
        """A thread: one row after the other. It is a daemon, so that a stop need not wait for its request."""
        while not self.session.stop.is_set():
            try:
                key = self.jobs.get_nowait()
            except queue.Empty:
                return
            try:
                self.results.put((key, self.session.settle(key, self.waiting[key])))
            except BaseException as error:  # handed on to the thread that waits for it
                self.results.put((key, error))
                return

    def finish(self, report: Callable[[Progress], None]) -> None:
        """Until every row has an outcome. Raises what stops the run; what has come in by then is in the file."""
        for _ in range(min(self.session.limits.concurrency, len(self.waiting))):
            threading.Thread(target=self.work, daemon=True).start()
        started, silent = time.monotonic(), 0
        try:
            for done in range(1, len(self.waiting) + 1):
                outcome = self.take(*self.results.get())
                silent = silent + 1 if isinstance(outcome, NoReply) else 0
                report(self.progress(done, time.monotonic() - started))
                if isinstance(outcome, NoReply) and silent == GIVE_UP_AFTER:
                    raise FailedError(f"{silent} answers in a row got no reply; the last: {outcome.why}\n{self.kept()}")
        except KeyboardInterrupt:
            self.drain()
            raise StoppedError(f"stopped by Ctrl-C\n{self.kept()}", STOPPED_BY_CTRL_C) from None
        finally:
            self.session.stop.set()
            self.drain()

    def take(self, key: str, outcome: Judgement | NoReply | BaseException) -> Judgement | NoReply:
        """Write a judgement down; raise what a thread raised."""
        if isinstance(outcome, BaseException):
            raise outcome
        if isinstance(outcome, Judgement):
            self.file.append(outcome, self.waiting[key], self.session.endpoint.model)
        return outcome

    def drain(self) -> None:
        """Keep the judgements that came in while the run was being stopped."""
        while not self.results.empty():
            key, outcome = self.results.get()
            if isinstance(outcome, Judgement):
                self.take(key, outcome)

    def kept(self) -> str:
        """What a run that stops leaves."""
        judged = sum(key in self.file.found for key in self.keys)
        return (f"{judged:,} of {len(self.keys):,} answers are judged, in {self.file.path}\n"
                "run the same command again to go on")

    def progress(self, done: int, seconds: float) -> Progress:
        """Over all rows of the file, the time from the pace of this run."""
        found = [self.file.found[key].score for key in self.keys if key in self.file.found]
        scores = [score for score in found if score is not None]
        left = len(self.waiting) - done
        return Progress(done=len(self.keys) - left, total=len(self.keys), unscored=len(found) - len(scores),
                        mean=sum(scores) / len(scores) if scores else None, seconds_left=seconds / done * left)
