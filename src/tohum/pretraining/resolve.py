"""Recipe with gaps + data -> recipe without gaps. Follows from sizes, CPU flags and kernels: same command, same bits.

The values are those that trained best here in minutes-long runs (docs/log.md; benchmarks/tuning.py tries others);
every one can be set by hand.
"""

import math
from typing import Any

from tohum.data_sampling.shards import DataFolder
from tohum.errors import ConfigError, DataError
from tohum.kernels.matmul import multiplies_natively
from tohum.machine import cores, has_bf16_arithmetic, pick_device
from tohum.model.config import ModelConfig
from tohum.model.counting import flops_per_token, parameters
from tohum.model.presets import DEFAULT_DEPTH
from tohum.model.recipe import resolve_model
from tohum.pretraining.config import PretrainRecipe, ResolvedRecipe, TrainingSection
from tohum.training.config import OptimizerSection

DEFAULT_MAX_LENGTH = 256  # tokens; longer windows cost attention time that minutes-long runs do not have
DEFAULT_BATCH_TOKENS = 4096
MICRO_BATCH_TOKENS = 4096  # on a CPU more rows per pass are not faster, only larger
GPU_BATCH_TOKENS, GPU_MICRO_BATCH_TOKENS = 2**16, 2**15
DEFAULT_EPOCHS = 4  # without --steps, --tokens or --budget: repeats up to here are nearly as good as fresh text
EVALUATIONS, SAMPLES, REPORTS = 10, 5, 400  # on the way, over a whole run
EVALUATION_SHARE = 0.004  # of the training arithmetic that one validation on the way may cost
FRESH_EPOCHS = 2.0  # passes that count as new text: size and batch follow from these, dropout from those beyond
DROPOUT_BY_REPETITION = ((5.0, 0.0), (33.0, 0.1), (50.0, 0.2), (math.inf, 0.3))  # repetition at most, rate
DECAY_BY_REPETITION = ((10.0, 0.1), (120.0, 0.5), (math.inf, 1.5))
COMPILE_PAYS_FLOPS = 6e14  # about an hour here: in float32 compiling takes half a minute and saves a tenth
REFERENCE_WIDTH = 256  # of the rates below
STEADY_STEPS, STEADY_BATCH = 600, 2048  # of Muon's rate; more steps want smaller ones, larger batches larger ones
LEAST_RATE = 0.25  # of Muon's rate, however many the steps


def resolve(recipe: PretrainRecipe, data: DataFolder, world_size: int = 1) -> tuple[ResolvedRecipe, ModelConfig]:
    """Fill every gap. Raises ConfigError or DataError for what cannot be had."""
    model = recipe.model
    if model.preset is None and model.depth is None and model.width is None:
        model = model.replace(depth=DEFAULT_DEPTH)
    max_length = recipe.data.max_length or min(DEFAULT_MAX_LENGTH, longest_window(data))
    if data.train_tokens < 2:
        raise DataError(f"{data.path}: {data.train_tokens} training tokens; a next-token window needs at least 2\n"
                        "add text, or prepare with a smaller --val-fraction")
    config = resolve_model(model, data.tokenizer.vocab_size, max_length)
    stride = recipe.data.stride or (max_length if recipe.data.packing == "concatenated" else None)
    section = recipe.data.model_dump() | {"folder": str(data.path), "max_length": max_length, "stride": stride}
    training = fill_training(recipe.training, data, config, max_length, world_size)
    repeated = repetition(config, training["steps"] * training["batch_tokens"], data.train_tokens)
    if model.dropout is None and model.preset is None:
        model = model.replace(dropout=at_repetition(repeated, DROPOUT_BY_REPETITION))
        config = resolve_model(model, data.tokenizer.vocab_size, max_length)
    values = {"model": model.model_dump(), "data": section,
              "training": training,
              "optimizer": fill_optimizer(recipe.optimizer, config, repeated, training["steps"],
                                           training["batch_tokens"]).model_dump()}
    return ResolvedRecipe.model_validate(recipe.model_dump() | values), config


def repetition(config: ModelConfig, tokens: int, train_tokens: int) -> float:
    """Parameters for each token of the text, times the passes over it beyond the second.

    A model learns a text by heart that is small beside its parameters and comes often (docs/log.md).
    """
    return parameters(config) / train_tokens * max(0.0, tokens / train_tokens - FRESH_EPOCHS)


def at_repetition(repeated: float, table: tuple[tuple[float, float], ...]) -> float:
    """The more a text repeats for this model, the more is dropped, and the more its weights decay."""
    return next(value for most, value in table if repeated <= most)


def longest_window(data: DataFolder) -> int:
    """A window no longer than the text, rounded to a multiple of 8."""
    return max(8, min(DEFAULT_MAX_LENGTH, (data.train_tokens - 1) // 8 * 8))


def fill_training(t: TrainingSection, data: DataFolder, config: ModelConfig, max_length: int,
                  world_size: int) -> dict[str, Any]:
    """Device, number format, batch, steps and intervals."""
    device = pick_device(t.device)
    dtype = t.dtype
    if dtype == "auto":
        dtype = "bf16" if device.type == "cuda" or (device.type == "cpu" and has_bf16_arithmetic()) else "fp32"
    gpu = device.type == "cuda"
    wanted = t.batch_tokens or (GPU_BATCH_TOKENS if gpu else min(DEFAULT_BATCH_TOKENS, fair_batch(data, max_length)))
    rows = max(world_size, round(wanted / max_length))
    if t.batch_tokens is None:
        rows = math.ceil(rows / world_size) * world_size
    if rows % world_size:
        raise ConfigError(f"training.batch_tokens gives {rows} windows of {max_length} tokens per step, which "
                          f"{world_size} processes cannot share equally; use a multiple of {world_size * max_length}")
    steps = t.steps or math.ceil((t.tokens or DEFAULT_EPOCHS * data.train_tokens) / (rows * max_length))
    micro = t.micro_batch or max(1, (GPU_MICRO_BATCH_TOKENS if gpu else MICRO_BATCH_TOKENS) // max_length)
    compiled = compile_pays(config, steps * rows * max_length, max_length, device.type, dtype)
    return t.model_dump() | {
        "steps": steps, "tokens": None, "budget": None, "device": device.type, "dtype": dtype,
        "batch_tokens": rows * max_length, "micro_batch": min(micro, rows // world_size),
        "threads": t.threads or cores(), "compile": compiled if t.compile is None else t.compile,
        "eval_every": default(t.eval_every, math.ceil(steps / EVALUATIONS)),
        "eval_rows": t.eval_rows or evaluation_rows(steps, rows),
        "save_every": default(t.save_every, math.ceil(steps / EVALUATIONS)),
        "sample_every": default(t.sample_every, math.ceil(steps / SAMPLES)),
        "report_every": t.report_every or max(1, steps // REPORTS)}


def evaluation_rows(steps: int, rows_per_step: int) -> int:
    """Windows of a validation on the way; a forward pass is a third of a training step."""
    return max(32, round(EVALUATION_SHARE * 3 * steps * rows_per_step))


def default(value: int | None, otherwise: int) -> int:
    """`value`, which may be 0 (never), unless it was not given."""
    return otherwise if value is None else value


def fair_batch(data: DataFolder, max_length: int) -> int:
    """At least some 50 steps per pass over a small text."""
    return max(max_length, data.train_tokens // 50)


def compile_pays(config: ModelConfig, tokens: int, max_length: int, device: str, dtype: str) -> bool:
    """Compilation pays when the run is long enough, by its arithmetic alone, and not where our kernels are faster."""
    if device == "cpu" and dtype == "bf16" and multiplies_natively():
        return False
    return device == "cuda" or flops_per_token(config, max_length) * tokens > COMPILE_PAYS_FLOPS


def fill_optimizer(o: OptimizerSection, config: ModelConfig, repeated: float, steps: int,
                   batch_tokens: int) -> OptimizerSection:
    """Peak rates by width: AdamW's fall with the width (Adam's step does not shrink by itself), Muon's up to 128 alone.

    Text that repeats wants more weight decay; a run of few steps cannot wait for a long momentum or for small steps.
    """
    decay = at_repetition(repeated, DECAY_BY_REPETITION)
    narrow = (REFERENCE_WIDTH / config.width) ** 0.5
    if o.kind == "muon":
        values = {"lr": 0.02 * max(1.0, 128 / config.width) * muon_rate(steps, batch_tokens),
                  "embedding_lr": 0.012 * narrow, "weight_decay": decay, "beta1": 0.9, "beta2": 0.95,
                  "momentum": momentum_for(steps)}
    else:
        values = {"lr": 0.002 * narrow, "weight_decay": 0.1, "beta1": 0.9, "beta2": 0.99}
    given = {key: value for key, value in o.model_dump().items() if value is not None}
    return o.replace(**(values | given))


def muon_rate(steps: int, batch_tokens: int) -> float:
    """Share of Muon's rate: what the noise of small batches does in many steps must not exceed what it does in few."""
    return max(LEAST_RATE, min(1.0, (STEADY_STEPS / steps * batch_tokens / STEADY_BATCH) ** 0.5))


def momentum_for(steps: int) -> float:
    """Muon's: an average over 5 steps in runs of 400, over 20 in those of 6,400 and more."""
    return round(1 - min(0.2, max(0.05, 0.2 * (400 / steps) ** 0.5)), 3)


def plain_recipe(resolved: ResolvedRecipe) -> dict[str, object]:
    """The values that decide the weights, for the identity of a run; a longer keep or deadline changes nothing."""
    values = resolved.model_dump(mode="json")
    for key in ("max_hours", "keep_last", "report_every", "prompts", "sample_every", "save_every"):
        values["training"].pop(key)
    values["data"].pop("folder")  # which data it is, is told by its fingerprint
    return values


