"""Recipe with gaps + sizes of the data -> recipe without gaps; follows from sizes and CPU flags alone."""

import math
from dataclasses import dataclass
from typing import Any, TypeVar

from tohum.errors import ConfigError
from tohum.finetuning.config import FinetuneRecipe, Train
from tohum.machine import cores, has_bf16_arithmetic, pick_device

Recipe = TypeVar("Recipe", bound=FinetuneRecipe)

# Peak rates of AdamW by what is trained. LoRA takes about ten times the rate of full tuning, at any rank.
LR: dict[Train | None, float] = {None: 3e-4, "all": 5e-5, "last-block": 3e-4, "head": 3e-3}
MICRO_TOKENS, GPU_MICRO_TOKENS = 1024, 16384
REPORTS = 400
MOST_EPOCHS = 5


@dataclass(frozen=True, kw_only=True)
class Sizes:
    """What the defaults of a stage follow from."""

    rows: int  # training examples
    seen_rows: int  # where neither epochs nor steps are given: as many epochs as reach this, MOST_EPOCHS at most
    batch_rows: int
    lr_scale: float = 1.0  # of the rates above
    evaluations: int = 2  # per epoch

    @property
    def epochs(self) -> int:
        """Few examples are seen several times, many once."""
        return min(MOST_EPOCHS, max(1, math.ceil(self.seen_rows / max(1, self.rows))))


def settle_machine(recipe: Recipe) -> Recipe:
    """Device, number format and threads; follows from the machine alone."""
    t = recipe.training
    device = pick_device(t.device)
    dtype = t.dtype
    if dtype == "auto":
        dtype = "bf16" if device.type == "cuda" or (device.type == "cpu" and has_bf16_arithmetic()) else "fp32"
    found = {"device": device.type, "dtype": dtype, "threads": t.threads or cores()}
    return recipe.replace(training=t.model_dump() | found)


def resolve(recipe: Recipe, sizes: Sizes, world_size: int) -> Recipe:
    """Fill every gap of a recipe whose machine is settled. Raises ConfigError for what cannot be had."""
    t = recipe.training
    batch_rows = min(t.batch_rows or sizes.batch_rows, max(sizes.rows, world_size))
    if batch_rows < world_size:
        raise ConfigError(f"training.batch_rows {batch_rows} for {world_size} processes leaves some without any; "
                          f"use {world_size} or more")
    per_epoch = sizes.rows / batch_rows
    steps = t.steps or max(1, math.ceil((t.epochs or sizes.epochs) * per_epoch))
    every = max(1, math.ceil(per_epoch / sizes.evaluations))
    training = {"epochs": None, "steps": steps, "batch_rows": batch_rows, "compile": bool(t.compile),
                "micro_tokens": t.micro_tokens or (GPU_MICRO_TOKENS if t.device == "cuda" else MICRO_TOKENS),
                "eval_every": given(t.eval_every, every), "save_every": given(t.save_every, every),
                "sample_every": given(t.sample_every, every), "report_every": t.report_every or max(
                    1, steps // REPORTS)}
    optimizer: dict[str, Any] = {"lr": LR[t.train] * sizes.lr_scale, "weight_decay": 0.0 if t.train is None else 0.01,
                                 "beta1": 0.9, "beta2": 0.999}
    optimizer |= recipe.optimizer.model_dump(exclude_none=True)
    adapter = recipe.lora.settled()
    lora = recipe.lora.model_dump() | ({"rank": adapter.rank, "alpha": adapter.numerator} if t.train is None else {})
    return recipe.filled().replace(training=t.model_dump() | training, optimizer=optimizer, lora=lora)


def given(value: int | None, otherwise: int) -> int:
    """`value`, which may be 0 (never), unless it was not given."""
    return otherwise if value is None else value
