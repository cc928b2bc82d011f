"""`[lora]`: how large the trained matrices are, where they sit, and how they are scaled."""

import math
from typing import Literal, Self

from pydantic import Field, PositiveFloat, PositiveInt, model_validator

from tohum.config import Config

LoraKind = Literal["lora", "dora", "rslora"]


class LoraKeys(Config):
    """`[lora]` but for the rank."""

    alpha: PositiveFloat | None = None  # None: twice the rank
    dropout: float = Field(default=0.0, ge=0, lt=1)  # of what A reads
    targets: tuple[str, ...] = ("*",)  # patterns for linears of the blocks: "attention.*", "query", "blocks.3.*"
    new_tokens: tuple[str, ...] = ()  # special tokens whose rows of the token table are trained; added where missing
    kind: LoraKind = "lora"  # rslora: alpha / sqrt(rank); dora: direction and length apart

    @model_validator(mode="after")
    def some_target(self) -> Self:
        if not self.targets:
            raise ValueError("lora.targets is empty; '*' takes every linear of the blocks")
        return self


class LoraConfig(LoraKeys):
    """`[lora]`. The update of a weight W (out, in) is scale * B A with A (rank, in) and B (out, rank)."""

    rank: PositiveInt = 16

    @property
    def numerator(self) -> float:
        """alpha, or what it is unless told."""
        return 2.0 * self.rank if self.alpha is None else self.alpha

    @property
    def scale(self) -> float:
        """What B A is multiplied by: alpha / rank, or alpha / sqrt(rank) (rsLoRA, arXiv:2312.03732)."""
        return self.numerator / (math.sqrt(self.rank) if self.kind == "rslora" else self.rank)
