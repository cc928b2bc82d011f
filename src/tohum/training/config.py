"""The keys of `[training]` and `[optimizer]` that every run has, whatever it trains; intervals count steps."""

from typing import Literal

from pydantic import Field, NonNegativeInt, PositiveFloat, PositiveInt

from tohum.config import Config
from tohum.seeding import DEFAULT_SEED
from tohum.training.optimizer import OptimizerConfig


class RunSection(Config):
    """What happens on the way, and where."""

    eval_every: NonNegativeInt | None = None
    save_every: NonNegativeInt | None = None
    sample_every: NonNegativeInt | None = None
    report_every: PositiveInt | None = None
    keep_last: PositiveInt = 2  # checkpoints, besides the best
    patience: PositiveInt | None = None  # evaluations without a new best
    clip_norm: PositiveFloat | None = 1.0
    max_hours: PositiveFloat | None = None
    seed: NonNegativeInt = DEFAULT_SEED
    device: Literal["auto", "cpu", "cuda", "mps"] = "auto"
    dtype: Literal["auto", "bf16", "fp32", "fp64"] = "auto"
    compile: bool | None = None  # torch.compile; None: when it pays within the run
    threads: PositiveInt | None = None  # None: every core


class OptimizerSection(Config):
    """`[optimizer]` as a user writes it: what is None follows from the model and from what is trained."""

    kind: Literal["adamw", "muon"] = "muon"
    lr: PositiveFloat | None = None
    embedding_lr: PositiveFloat | None = None
    weight_decay: float | None = Field(default=None, ge=0)
    beta1: float | None = Field(default=None, ge=0, lt=1)
    beta2: float | None = Field(default=None, ge=0, lt=1)
    momentum: float | None = Field(default=None, ge=0, lt=1)

    def settled(self) -> OptimizerConfig:
        """The optimizer's own settings; what is still None takes its default."""
        return OptimizerConfig(**self.model_dump(exclude_none=True))
