"""The recipe sections that the fine-tuning stages share; each stage adds its own `[data]`.

A key that is None is chosen before step 0 (finetuning/resolve.py), and the resolved recipe is stored in the run.
"""

from typing import Annotated, Literal, Self

from pydantic import BeforeValidator, NonNegativeInt, PositiveFloat, PositiveInt, model_validator

from tohum.config import Config
from tohum.lora.config import LoraConfig, LoraKeys
from tohum.training.config import OptimizerSection, RunSection
from tohum.training.schedule import ScheduleConfig
from tohum.units import parse_seconds

Seconds = Annotated[PositiveFloat, BeforeValidator(parse_seconds)]
Train = Literal["all", "last-block", "head"]
Overlong = Literal["drop", "truncate", "error"]
DEFAULT_RANK = 16


class BaseSection(Config):
    """`[model]`: what is tuned."""

    folder: str | None = None  # a model folder, a run, or an adapter, which is merged first


class ExamplesSection(Config):
    """`[data]` as all stages have it."""

    file: str | None = None
    max_length: PositiveInt | None = None  # tokens of an example; None: the longest, at most the model's context
    overlong: Overlong | None = None  # what becomes of longer ones


class AskingSection(ExamplesSection):
    """`[data]` of stages that teach answers."""

    template: str | None = None  # a style (alpaca, chatml, phi3) or a .jinja file; None: the model's own, else alpaca
    fractions: tuple[float, float, float] = (0.85, 0.05, 0.1)  # train, validation, test
    answers: NonNegativeInt | None = None  # test questions that are answered before and after; None: all
    answer_tokens: PositiveInt = 128  # of an answer, at most


class FinetuneTraining(RunSection):
    """`[training]`: how long, in which portions, and what is trained."""

    epochs: PositiveInt | None = None
    steps: PositiveInt | None = None
    budget: Seconds | None = None  # of the steps and validations; a run that would take longer is shortened
    batch_rows: PositiveInt | None = None  # examples of one optimizer step, over all ranks
    micro_tokens: PositiveInt | None = None  # tokens of one forward pass
    train: Train | None = None  # None: a LoRA adapter

    @model_validator(mode="after")
    def one_length(self) -> Self:
        if self.epochs is not None and self.steps is not None:
            raise ValueError("epochs and steps exclude each other; give one of them")
        return self


class FinetuneOptimizer(OptimizerSection):
    """`[optimizer]`: AdamW unless told; rates follow from what is trained."""

    kind: Literal["adamw", "muon"] = "adamw"


class FinetuneSchedule(ScheduleConfig):
    """`[schedule]`: warm-up over the first twentieth, then a straight line down."""

    kind: Literal["cosine", "linear", "wsd", "constant"] = "linear"
    warmup_fraction: float = 0.05


class LoraSection(LoraKeys):
    """`[lora]` as a user writes it. A rank asks for LoRA; without it and without training.train, LoRA of rank 16."""

    rank: PositiveInt | None = None
    base_format: Literal["float32", "int8"] = "float32"  # of the frozen linears; int8 needs a quarter of their memory

    def settled(self) -> LoraConfig:
        """The adapter's own settings."""
        keys = self.model_dump(exclude_none=True, exclude={"base_format"})
        return LoraConfig(**keys | {"rank": self.rank or DEFAULT_RANK})


class FinetuneRecipe(Config):
    """What every fine-tuning recipe has; the stages' recipes name their own kind of `[data]`."""

    model: BaseSection = BaseSection()
    data: ExamplesSection = ExamplesSection()
    training: FinetuneTraining = FinetuneTraining()
    optimizer: FinetuneOptimizer = FinetuneOptimizer()
    schedule: FinetuneSchedule = FinetuneSchedule()
    lora: LoraSection = LoraSection()

    def filled(self) -> Self:
        """With the gaps of a stage's own sections filled."""
        return self

    @model_validator(mode="after")
    def adapter_or_weights(self) -> Self:
        if self.training.train is not None and self.lora.rank is not None:
            raise ValueError(f"training.train={self.training.train} trains weights of the model itself and lora.rank="
                             f"{self.lora.rank} an adapter beside them; give one of them")
        if self.training.train is not None and self.lora.base_format != "float32":
            raise ValueError(f"training.train={self.training.train} trains weights that lora.base_format="
                             f"{self.lora.base_format} would freeze as bytes; leave one of them out")
        return self
