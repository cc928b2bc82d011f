"""What a pre-training run looks at on the way: validation, samples, predictions, progress, its budget."""

from collections.abc import Iterable
from dataclasses import dataclass, field

from tohum.data_sampling.batch import Batch
from tohum.data_sampling.loader import evaluation_batches
from tohum.data_sampling.shards import DataFolder
from tohum.evaluation.perplexity import Evaluation, evaluate
from tohum.generation.choice import Choice
from tohum.generation.text import generate_text
from tohum.pretraining.build import Built
from tohum.pretraining.config import ResolvedRecipe
from tohum.pretraining.forecast import Forecast
from tohum.training.budget import Budget
from tohum.training.journal import Journal
from tohum.training.profile import StepProfile
from tohum.training.progress import Progress
from tohum.training.state import TrainState
from tohum.training.step import StepResult
from tohum.training.stopping import StopRequests

SAMPLE_TOKENS = 96
SAMPLE_CHOICE = Choice(temperature=0.8, top_k=50, seed=0)
EVALUATION_ROWS = 16  # windows per forward pass


@dataclass
class RunWatch:
    """The loop's eyes; see training/loop.py, `Watch`."""

    recipe: ResolvedRecipe
    built: Built
    data: DataFolder
    journal: Journal
    progress: Progress
    budget: Budget | None = None
    forecast: Forecast | None = None
    profile: StepProfile | None = None
    last_evaluation: Evaluation | None = field(default=None, init=False)
    saw_all: bool = field(default=False, init=False)  # the last evaluation read the whole validation text

    def evaluate(self, state: TrainState, stop: StopRequests) -> float:
        """Validation loss over the first `eval_rows` windows, or over all of them after the last step."""
        return self.validate(state, stop, whole=state.step >= state.last_step(self.built.plan.steps))

    def validate(self, state: TrainState, stop: StopRequests, *, whole: bool) -> float:
        """The loss, and a line in the journal."""
        if self.data.val_tokens < 2:  # prepared with --val-fraction 0: the newest checkpoint counts as the best
            return -float(state.step)
        rows = None if whole else self.recipe.training.eval_rows
        batches: Iterable[Batch] = validation(self.data, self.recipe, rows)
        result = evaluate(self.built.network, stop.guard(batches), self.data.tokenizer.byte_lengths,
                          dtype=self.built.precision.dtype, device=self.built.precision.device)
        self.last_evaluation, self.saw_all = result, whole
        self.journal.write("evaluation", step=state.step, tokens=state.tokens, seconds=round(state.seconds, 3),
                           loss=result.loss, perplexity=result.perplexity, bits_per_byte=result.bits_per_byte,
                           whole=whole)
        self.progress.say(f"step {state.step:,}: validation loss {result.loss:.4f}, "
                          f"{result.bits_per_byte:.4f} bits per byte")
        return result.loss

    def sample(self, state: TrainState) -> None:
        """Continue the fixed prompts; the samples' randomness is their own."""
        prompts = list(self.recipe.training.prompts) or [""]
        answers = generate_text(self.built.network, self.data.tokenizer, prompts, choice=SAMPLE_CHOICE,
                                max_tokens=SAMPLE_TOKENS)
        for prompt, answer in zip(prompts, answers, strict=True):
            self.journal.sample(step=state.step, tokens=state.tokens, seconds=round(state.seconds, 3),
                                prompt=prompt, text=answer.text)

    def adjust(self, state: TrainState) -> TrainState:
        """Predict again at fixed fractions; shorten a run that would miss its budget."""
        if self.forecast:
            self.forecast.look(state, self.journal)
        return self.budget.adjust(state, self.journal, self.progress.say) if self.budget else state

    def stepped(self, state: TrainState, result: StepResult) -> None:
        """Move the progress line."""
        self.progress.step(state, result)
        if self.profile:
            self.profile.stepped()


def validation(data: DataFolder, recipe: ResolvedRecipe, rows: int | None) -> Iterable[Batch]:
    """Windows of the validation split in order; the same ones each time."""
    return evaluation_batches(data, split="val", max_length=recipe.data.max_length, rows=EVALUATION_ROWS,
                              packing=recipe.data.packing, limit_rows=rows)
