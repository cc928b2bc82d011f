"""What a fine-tuning run looks at on the way: validation and its canary prompts, both given by the stage."""

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from typing import Any

from tohum.training.budget import Budget
from tohum.training.journal import Journal
from tohum.training.profile import StepProfile
from tohum.training.progress import Progress
from tohum.training.state import TrainState
from tohum.training.step import StepResult
from tohum.training.stopping import StopRequests

Guard = Callable[[Iterable[Any]], Iterable[Any]]  # passes items on, or gives the evaluation up
Evaluate = Callable[[Guard], Mapping[str, float] | None]  # figures, "loss" among them; None: nothing to validate on
Sample = Callable[[], Iterable[Mapping[str, Any]]]  # canary prompts with the present answers
Figures = Callable[[], Mapping[str, float]]  # of the training step, taken after each


def nothing() -> Mapping[str, float]:
    """A stage without figures of its own."""
    return {}


@dataclass(frozen=True, kw_only=True)
class FinetuneWatch:
    """The loop's eyes; see training/loop.py, `Watch`."""

    journal: Journal
    progress: Progress
    evaluation: Evaluate
    samples: Sample
    figures: Figures = nothing
    report_every: int = 1
    budget: Budget | None = None
    profile: StepProfile | None = None

    def evaluate(self, state: TrainState, stop: StopRequests) -> float:
        """Validation loss, and a line in the journal."""
        found = self.evaluation(stop.guard)
        if found is None:  # no validation rows: the newest checkpoint counts as the best
            return -float(state.step)
        self.journal.write("evaluation", step=state.step, tokens=state.tokens, seconds=round(state.seconds, 3), **found)
        shown = ", ".join(f"{name.replace('_', ' ')} {value:.4f}" for name, value in found.items())
        self.progress.say(f"step {state.step:,}: validation {shown}")
        return found["loss"]

    def sample(self, state: TrainState) -> None:
        """The same prompts each time; what they draw is their own."""
        for sample in self.samples():
            self.journal.sample(step=state.step, tokens=state.tokens, seconds=round(state.seconds, 3), **sample)

    def adjust(self, state: TrainState) -> TrainState:
        """Shorten a run that would miss its budget."""
        return self.budget.adjust(state, self.journal, self.progress.say) if self.budget else state

    def stepped(self, state: TrainState, result: StepResult) -> None:
        """Move the progress line; now and then a line of the stage's own figures."""
        self.progress.step(state, result)
        if self.profile:
            self.profile.stepped()
        found = self.figures()  # of this step alone, as its loss is: a run that is continued writes the same line
        if found and state.step % self.report_every == 0:
            self.journal.write("figures", step=state.step, **found)
