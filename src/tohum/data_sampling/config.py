"""Settings of `data prepare`: how documents are cut, split and mixed."""

from typing import Self

from pydantic import Field, NonNegativeFloat, PositiveFloat, PositiveInt, model_validator

from tohum.config import Config
from tohum.documents.source import Split

SHARD_TOKENS = 100_000_000


class PrepareConfig(Config):
    """Everything but `force` decides what comes out, and is part of the key under which it is reused."""

    split: Split = "auto"  # one document per …
    text_key: str = "text"  # the field of a record that holds its text
    val_fraction: float = Field(default=0.1, ge=0, lt=1)  # of the characters
    weights: dict[str, PositiveFloat] | None = None  # source name -> weight; None: its training tokens
    alpha: NonNegativeFloat = 1.0  # share of a source ∝ weight^alpha (arXiv:1901.07291, section 3.1)
    shard_tokens: PositiveInt = SHARD_TOKENS  # tokens per shard file
    force: bool = False  # replace another data folder

    @model_validator(mode="after")
    def some_weights(self) -> Self:
        if self.weights is not None and not self.weights:
            raise ValueError("weights names no source; write it like a=2,b=1")
        return self
