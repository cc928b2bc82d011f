"""The plan of a run: recipe + data + this machine -> size, batch, steps, memory, time, predicted bits per byte.

With --budget the machine is measured first and the depth, the steps and everything that follows are chosen for it.
With --steps or --tokens the recipe follows from sizes and CPU flags alone; measuring then only predicts.
"""

from dataclasses import asdict, dataclass, field
from math import ceil
from typing import Any, Self

from tohum.data_sampling.shards import DataFolder
from tohum.errors import ConfigError
from tohum.machine import compile_problem, process_seconds
from tohum.model.config import ModelConfig
from tohum.model.counting import flops_per_token, parameters
from tohum.pretraining.config import PretrainRecipe, ResolvedRecipe, ResolvedTraining
from tohum.pretraining.corpus import OVERLAP_TEXT_BYTES, statistics
from tohum.pretraining.memory import Memory, forecast_memory
from tohum.pretraining.predict import Prediction, Size, predict
from tohum.pretraining.probe import Measured, probe
from tohum.pretraining.resolve import EVALUATIONS, FRESH_EPOCHS, SAMPLES, evaluation_rows, longest_window, resolve
from tohum.training.ranks import Ranks

PROBE_SHARE, PROBE_MIN_SECONDS, PROBE_MAX_SECONDS = 0.02, 0.3, 4.0  # of the budget, per trial
RESERVE_SHARE = 0.015  # of the budget: what a plan leaves free for a machine that slows down
CLOSING_SECONDS = 0.8  # result, report, last save
OVERLAP_SECONDS_PER_BYTE = 0.6e-6  # of training text that the last samples are held against
CHECKPOINT_SECONDS, SAMPLE_SECONDS = 0.05, 0.1  # of a model of a few million parameters
WORTH_MEASURING_SECONDS = 20.0  # a --steps run that is over sooner is not worth a trial
PROBE_SHARE_OF_STEPS = 0.1  # of a --steps run's first guess
BYTES_PER_PARAMETER = 1.1  # of text seen, per number in the matrices; in runs of minutes far less than Chinchilla's
MAX_DEPTH = 24
MAX_TRIALS = 3
NOMINAL_STEPS = 1000  # of a trial's recipe, until the number of steps is known
SHORT_RUN_TOKENS, SHORT_BATCH_TOKENS = 6_000_000, 2048  # few tokens, or few new ones, want more and smaller steps
SHORTEST_RUN_TOKENS, SHORT_WINDOW = 1_000_000, 128  # too few to learn from what stands farther back


@dataclass(frozen=True, kw_only=True)
class Plan:
    """What will be done, and what is expected of it."""

    recipe: ResolvedRecipe
    config: ModelConfig
    parameters: int
    seconds: float | None  # of the whole run, from the start of the process; None: not measured
    closing_seconds: float
    budget_seconds: float | None
    memory: Memory
    prediction: Prediction | None
    measured: Measured | None = None
    notes: tuple[str, ...] = field(default=())

    def to_json(self) -> dict[str, Any]:
        """The `--json` object of `tohum plan`, also stored in the run."""
        made = self.prediction
        return {
            "model": self.recipe.model.model_dump(exclude_none=True) | {"parameters": self.parameters},
            "config": self.config.model_dump(mode="json"), "steps": self.recipe.training.steps,
            "batch_tokens": self.recipe.training.batch_tokens, "micro_batch": self.recipe.training.micro_batch,
            "seconds": self.seconds, "closing_seconds": self.closing_seconds,
            "budget_seconds": self.budget_seconds, "peak_memory_bytes": self.memory.peak_bytes,
            "memory": asdict(self.memory), "predicted_bits_per_byte": made.bits_per_byte if made else None,
            "low": made.low if made else None, "high": made.high if made else None,
            "features": list(made.features) if made else None,
            "measured": asdict(self.measured) if self.measured else None, "notes": list(self.notes)}

    @classmethod
    def from_json(cls, values: dict[str, Any], recipe: ResolvedRecipe) -> Self:
        """A stored plan with the run's resolved recipe."""
        made = None
        if values["predicted_bits_per_byte"] is not None:
            made = Prediction(bits_per_byte=values["predicted_bits_per_byte"], low=values["low"],
                              high=values["high"], features=tuple(values["features"]))
        return cls(recipe=recipe, config=ModelConfig.model_validate(values["config"]),
                   parameters=values["model"]["parameters"], seconds=values["seconds"],
                   closing_seconds=values["closing_seconds"], budget_seconds=values["budget_seconds"],
                   memory=Memory(**values["memory"]), prediction=made, notes=tuple(values["notes"]),
                   measured=Measured(**values["measured"]) if values["measured"] else None)


def make_plan(recipe: PretrainRecipe, data: DataFolder, ranks: Ranks, *, measure: bool = True) -> Plan:
    """Fill the recipe for this data and machine. Raises ConfigError for a budget that nothing fits."""
    t = recipe.training
    if t.budget is not None:
        return plan_for_budget(recipe, data, t.budget, ranks)
    resolved, config = resolve(recipe, data, ranks.world_size)
    resolved, notes = without_broken_compiler(resolved)
    arithmetic = flops_per_token(config, resolved.data.max_length) * resolved.training.steps
    guess = arithmetic * resolved.training.batch_tokens / nominal_flops_per_second(resolved.training)
    measured = None
    if measure and ranks.world_size == 1 and guess > WORTH_MEASURING_SECONDS:
        measured = probe(resolved, config, data, min(PROBE_MAX_SECONDS, PROBE_SHARE_OF_STEPS * guess), ranks)
    return assemble(resolved, config, data, measured, notes=notes)


def without_broken_compiler(resolved: ResolvedRecipe) -> tuple[ResolvedRecipe, tuple[str, ...]]:
    """Where torch.compile fails, the run does without it and says so."""
    problem = compile_problem() if resolved.training.compile else None
    if problem is None:
        return resolved, ()
    return resolved.with_training(compile=False), (f"torch.compile fails here ({problem}); training without it",)


def plan_for_budget(recipe: PretrainRecipe, data: DataFolder, budget_seconds: float, ranks: Ranks) -> Plan:
    """Measure, choose depth and batch, measure those, and turn the budget into a number of steps.

    All processes measure together and go by the first one's clock: each comes to the same plan.
    """
    trial_seconds = min(PROBE_MAX_SECONDS, max(PROBE_MIN_SECONDS, PROBE_SHARE * budget_seconds))
    statistics(data)  # computed once per data folder, before the time that is left is counted
    first, _ = resolve(with_steps(recipe, recipe.model.depth, 1), data)
    chosen = choose(recipe, data, 0.8 * budget_seconds * nominal_flops_per_second(first.training), ranks.world_size)
    for _ in range(MAX_TRIALS):
        resolved, config = resolve(chosen, data, ranks.world_size)
        measured = probe(resolved, config, data, trial_seconds, ranks)
        flops = flops_per_token(config, resolved.data.max_length) * resolved.training.batch_tokens
        (spent,) = ranks.first([process_seconds()])
        left = (budget_seconds - spent) * (1 - RESERVE_SHARE)
        before, chosen = chosen, choose(recipe, data, left * flops / measured.step_seconds, ranks.world_size)
        if chosen == before:
            break
    closing = closing_seconds(resolved, data, measured)
    steps = steps_within(resolved, data, measured, left - closing)
    if steps < 1:
        raise ConfigError(f"--budget: {budget_seconds:.0f} s are over before the first step "
                          f"({spent:.0f} s of start, {closing:.0f} s of closing work); give more time")
    resolved, config = resolve(before.replace(training=before.training.replace(steps=steps).model_dump()), data,
                               ranks.world_size)
    resolved, notes = without_broken_compiler(resolved)
    return assemble(resolved, config, data, measured, budget_seconds=budget_seconds, notes=notes)


def choose(recipe: PretrainRecipe, data: DataFolder, flops: float, world_size: int = 1) -> PretrainRecipe:
    """The recipe with a depth and a batch for this much arithmetic; what the user fixed stays."""
    fixed = recipe.model.preset is not None or recipe.model.width is not None or recipe.model.depth is not None
    depth = None if fixed else choose_depth(data, flops)
    resolved, config = resolve(with_steps(recipe, depth, 1), data)
    tokens = flops / flops_per_token(config, config.context)
    window = min(SHORT_WINDOW, longest_window(data)) if tokens < SHORTEST_RUN_TOKENS else None
    # small steps over old text were measured on a CPU; a GPU would stand idle
    fresh = min(tokens, FRESH_EPOCHS * data.train_tokens) if resolved.training.device == "cpu" else tokens
    shared = world_size * (recipe.data.max_length or window or resolved.data.max_length)  # a window for each process
    batch = ceil(SHORT_BATCH_TOKENS / shared) * shared if world_size > 1 else SHORT_BATCH_TOKENS
    return with_steps(recipe, depth, NOMINAL_STEPS, batch if fresh < SHORT_RUN_TOKENS else None, window)


def with_steps(recipe: PretrainRecipe, depth: int | None, steps: int, batch_tokens: int | None = None,
               max_length: int | None = None) -> PretrainRecipe:
    """The recipe as a --steps recipe; what is None keeps the recipe's own."""
    model = recipe.model if depth is None else recipe.model.replace(depth=depth)
    training = recipe.training.model_dump() | {"budget": None, "tokens": None, "steps": steps}
    training["batch_tokens"] = training["batch_tokens"] or batch_tokens
    section = recipe.data.model_dump() | {"max_length": recipe.data.max_length or max_length}
    return recipe.replace(model=model.model_dump(), training=training, data=section)


def nominal_flops_per_second(t: ResolvedTraining) -> float:
    """A first guess for the first trial; the trial corrects it."""
    return {"cpu": 1e11 if t.dtype == "bf16" else 5e10}.get(t.device, 1e14) * (t.threads if t.device == "cpu" else 1)


def choose_depth(data: DataFolder, flops: float) -> int:
    """The largest depth that still sees BYTES_PER_PARAMETER bytes of text per parameter of its matrices.

    A text counts FRESH_EPOCHS times at most (arXiv:2305.16264 finds repeats to fade; a smaller model that sees them
    more often learns less by heart), so a small text has a small model, however long the run.
    """
    best = 1
    for depth in range(1, MAX_DEPTH + 1):
        _, config = resolve(with_steps(PretrainRecipe(), depth, 1), data)
        tokens = flops / flops_per_token(config, config.context)
        matrices = parameters(config) - config.vocab_size * config.width
        epochs = min(tokens / max(1, data.train_tokens), FRESH_EPOCHS)
        if epochs * data.train_bytes >= BYTES_PER_PARAMETER * matrices:
            best = depth
    return best


def closing_seconds(resolved: ResolvedRecipe, data: DataFolder, measured: Measured) -> float:
    """Work after the last step: the whole validation text, samples, the last checkpoint, the report."""
    rows = data.val_tokens / resolved.data.max_length
    overlap = OVERLAP_SECONDS_PER_BYTE * min(data.train_bytes, OVERLAP_TEXT_BYTES)
    return (CLOSING_SECONDS + overlap + SAMPLE_SECONDS + CHECKPOINT_SECONDS
            + rows * measured.row_evaluation_seconds)


def training_seconds(resolved: ResolvedRecipe, data: DataFolder, measured: Measured, steps: int) -> float:
    """Time of `steps` steps with the validations, samples and checkpoints on the way (intervals as in resolve.py)."""
    rows = evaluation_rows(steps, resolved.training.batch_tokens // resolved.data.max_length)
    validation = min(rows, data.val_tokens / resolved.data.max_length) * measured.row_evaluation_seconds
    on_the_way = (EVALUATIONS - 1) * (validation + CHECKPOINT_SECONDS) + (SAMPLES - 1) * SAMPLE_SECONDS
    return steps * measured.step_seconds + on_the_way


def steps_within(resolved: ResolvedRecipe, data: DataFolder, measured: Measured, seconds: float) -> int:
    """The most steps that `seconds` hold."""
    low, high = 0, max(1, int(seconds / measured.step_seconds))
    while low < high:
        middle = (low + high + 1) // 2
        fits = training_seconds(resolved, data, measured, middle) <= seconds
        low, high = (middle, high) if fits else (low, middle - 1)
    return low


def assemble(resolved: ResolvedRecipe, config: ModelConfig, data: DataFolder, measured: Measured | None, *,
             budget_seconds: float | None = None, notes: tuple[str, ...] = ()) -> Plan:
    """Add what is expected: memory, time, bits per byte."""
    t = resolved.training
    text = statistics(data) if measured else None
    tokens = t.steps * t.batch_tokens
    bytes_per_token = data.train_bytes / max(1, data.train_tokens)
    size = Size(parameters=parameters(config), bytes_seen=tokens * bytes_per_token, bytes_unique=data.train_bytes)
    closing = closing_seconds(resolved, data, measured) if measured else CLOSING_SECONDS
    seconds = None
    if measured:
        seconds = round(process_seconds() + training_seconds(resolved, data, measured, t.steps) + closing, 1)
    return Plan(recipe=resolved, config=config, parameters=size.parameters, seconds=seconds,
                closing_seconds=round(closing, 2), budget_seconds=budget_seconds,
                memory=forecast_memory(config, resolved, measured), measured=measured, notes=notes,
                prediction=predict(text, size) if text else None)


