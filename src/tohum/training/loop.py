"""The training loop, the only one: every stage passes its own parts and reads its figures from the journal."""

import contextlib
import time
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Protocol

from tohum.seeding import seed_step
from tohum.training import checkpoint
from tohum.training.checkpoint import Identity
from tohum.training.journal import Journal
from tohum.training.ranks import Ranks
from tohum.training.schedule import ScheduleConfig, Stretch, lr_multiplier
from tohum.training.state import TrainState
from tohum.training.step import Parts, StepResult, optimizer_step
from tohum.training.stopping import StopRequested, StopRequests


@dataclass(frozen=True, kw_only=True)
class TrainPlan:
    """Numbers that the loop follows; intervals count optimizer steps, 0 is never."""

    steps: int
    schedule: ScheduleConfig
    seed: int
    clip_norm: float | None
    report_every: int
    eval_every: int
    save_every: int
    sample_every: int
    keep_last: int
    patience: int | None = None


class Watch(Protocol):
    """What a run looks at while it trains; nothing in here may move weights or training randomness."""

    def evaluate(self, state: TrainState, stop: StopRequests) -> float:
        """Validation loss; writes its own line to the journal."""
        ...

    def sample(self, state: TrainState) -> None:
        """Decode the fixed prompts into the journal."""
        ...

    def adjust(self, state: TrainState) -> TrainState:
        """A run with a budget may shorten the rest of its schedule once."""
        ...

    def stepped(self, state: TrainState, result: StepResult) -> None:
        """Tell a person about one step."""
        ...


def train(out: Path, plan: TrainPlan, parts: Parts, identity: Identity, watch: Watch,
          stop: StopRequests) -> TrainState:
    """Train from the newest checkpoint in `out`, or from the start, to the last step or the end of patience.

    Raises StoppedError (checkpoint saved) when a stop was requested, NonFiniteError before a step that would
    spoil the weights. The result is the same however often the run was stopped or killed in between.
    """
    journal = Journal(out, enabled=parts.ranks.is_main)
    state = checkpoint.resume(out, parts, identity) or TrainState()
    journal.rewind(state.step)
    journal.write("event", event="resumed" if state.step else "started", step=state.step, seconds=state.seconds)
    clock = Clock(state.seconds)
    while True:
        last = state.last_step(plan.steps)
        done = state.step >= last
        if (due(state.step, plan.sample_every) or done) and state.sampled_step < state.step:
            watch.sample(state)
            state = replace(state, sampled_step=state.step, seconds=clock.seconds())
        if (due(state.step, plan.eval_every) or done) and state.evaluated_step < state.step:
            with contextlib.suppress(StopRequested):  # saved below; the resumed run evaluates this step first
                state = replace(state.evaluated(watch.evaluate(state, stop)), seconds=clock.seconds())
        done = done or (plan.patience is not None and state.evaluations_since_best >= plan.patience)
        stopping = parts.ranks.any(stop.pending) and not done
        fresh_best = state.best_step == state.evaluated_step == state.step > 0
        if (due(state.step, plan.save_every) or fresh_best or done or stopping) and state.step > 0:
            keep(out, plan, state, parts, identity)
        if stopping:
            journal.write("event", event="stopped", step=state.step, seconds=clock.seconds())
            raise stop.error(state.step, out)
        if done:
            return state
        seed_step(plan.seed, state.step, parts.ranks.rank)
        multiplier = lr_multiplier(state.step, plan.steps, plan.schedule, state.stretch)
        result = optimizer_step(parts, state.step, lr_multiplier=multiplier, clip_norm=plan.clip_norm)
        state = replace(state, step=state.step + 1, tokens=state.tokens + result.targets, loss=result.loss,
                        seconds=clock.seconds())
        if due(state.step, plan.report_every) or state.step == last:
            report(journal, plan, parts, state, result, multiplier, clock)
        watch.stepped(state, result)
        state = agreed(watch.adjust(state), parts.ranks)


def agreed(state: TrainState, ranks: Ranks) -> TrainState:
    """The first process decides whether a run is stretched."""
    if ranks.world_size == 1:
        return state
    own = state.stretch
    at, steps, position = ranks.first([own.at, own.steps, own.position] if own else [0, 0, 0])
    return replace(state, stretch=Stretch(at=int(at), steps=int(steps), position=position) if at else None)


def due(step: int, every: int) -> bool:
    """True on every `every`-th step; never for 0."""
    return every > 0 and step > 0 and step % every == 0


def keep(out: Path, plan: TrainPlan, state: TrainState, parts: Parts, identity: Identity) -> None:
    """Save on the main rank; point `best` and `last` at their checkpoints; drop old ones."""
    if parts.ranks.is_main:
        folder = checkpoint.save(out, state, parts, identity)
        if state.best_step == state.step or state.best_loss is None:
            checkpoint.link(out, "best", folder)
        checkpoint.prune(out, plan.keep_last, also=state.best_step)
    parts.ranks.wait()


def report(journal: Journal, plan: TrainPlan, parts: Parts, state: TrainState, result: StepResult,
           multiplier: float, clock: "Clock") -> None:
    """One line of metrics for a step."""
    journal.write("step", step=state.step, tokens=state.tokens, epoch=round(parts.batches.epoch(state.step), 4),
                  seconds=round(state.seconds, 3), loss=result.loss, grad_norm=result.grad_norm,
                  lr=parts.optimizer.config.lr * multiplier, tokens_per_second=round(clock.rate(state.tokens), 1))


class Clock:
    """Seconds of work over all starts of a run, and tokens per second since the last reading."""

    def __init__(self, before_seconds: float):
        self.started = time.perf_counter() - before_seconds
        self.last: tuple[float, int] | None = None

    def seconds(self) -> float:
        return time.perf_counter() - self.started

    def rate(self, tokens: int) -> float:
        now, last = self.seconds(), self.last
        self.last = (now, tokens)
        return (tokens - last[1]) / (now - last[0]) if last and now > last[0] else 0.0
