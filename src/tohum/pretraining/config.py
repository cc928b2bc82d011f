"""The recipe of a pre-training run: every key of `recipe.toml`, its unit and its default.

A key that is None is chosen before step 0 (pretraining/resolve.py) and the resolved recipe is stored in the run.
"""

from typing import Annotated, Any, Literal, Self

from pydantic import BeforeValidator, NonNegativeInt, PositiveFloat, PositiveInt, model_validator

from tohum.config import Config
from tohum.model.recipe import ModelRecipe
from tohum.training.config import OptimizerSection, RunSection
from tohum.training.schedule import ScheduleConfig
from tohum.units import parse_count, parse_seconds

Count = Annotated[PositiveInt, BeforeValidator(parse_count)]
Seconds = Annotated[PositiveFloat, BeforeValidator(parse_seconds)]


class DataSection(Config):
    """`[data]`: which text, and how token windows are cut."""

    folder: str | None = None  # written by `tohum data prepare`

    max_length: PositiveInt | None = None  # tokens per window
    stride: PositiveInt | None = None  # tokens from window to window; None: max_length
    packing: Literal["concatenated", "isolated"] = "concatenated"


class TrainingSection(RunSection):
    """`[training]`: how long, in which portions, what happens on the way. Intervals count optimizer steps."""

    steps: PositiveInt | None = None
    tokens: Count | None = None
    budget: Seconds | None = None
    batch_tokens: Count | None = None  # of one optimizer step, over all ranks
    micro_batch: PositiveInt | None = None  # windows per forward pass
    eval_rows: PositiveInt | None = None  # windows of a validation on the way; the last one reads them all
    prompts: tuple[str, ...] = ()  # continued at every sample; none: from an empty prompt

    @model_validator(mode="after")
    def one_length(self) -> Self:
        given = [name for name in ("steps", "tokens", "budget") if getattr(self, name) is not None]
        if len(given) > 1:
            raise ValueError(f"{' and '.join(given)} exclude each other; give one of them")
        return self


class PretrainRecipe(Config):
    """All sections."""

    model: ModelRecipe = ModelRecipe()
    data: DataSection = DataSection()
    training: TrainingSection = TrainingSection()
    optimizer: OptimizerSection = OptimizerSection()
    schedule: ScheduleConfig = ScheduleConfig()


class ResolvedData(DataSection):
    """`[data]` without gaps."""

    folder: str
    max_length: PositiveInt


class ResolvedTraining(TrainingSection):
    """`[training]` without gaps; the length is a number of steps."""

    steps: PositiveInt
    batch_tokens: PositiveInt
    micro_batch: PositiveInt
    eval_every: NonNegativeInt
    eval_rows: PositiveInt
    save_every: NonNegativeInt
    sample_every: NonNegativeInt
    report_every: PositiveInt
    device: Literal["cpu", "cuda", "mps"]
    dtype: Literal["bf16", "fp32", "fp64"]
    compile: bool
    threads: PositiveInt


class ResolvedRecipe(PretrainRecipe):
    """A recipe that says everything: what a run stores in its config.toml, and what reproduces it."""

    data: ResolvedData
    training: ResolvedTraining

    def with_training(self, **changes: Any) -> Self:
        """A copy with some keys of [training] changed."""
        return self.replace(training=self.training.model_dump() | changes)
