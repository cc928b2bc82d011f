"""The recipe of a preference run."""

from typing import Literal, Self

from pydantic import NonNegativeFloat, PositiveFloat

from tohum.config import Config
from tohum.finetuning.config import AskingSection, FinetuneRecipe

Method = Literal["dpo", "orpo", "simpo", "kto"]
WITH_REFERENCE: tuple[Method, ...] = ("dpo", "kto")
BETAS: dict[Method, float] = {"dpo": 0.1, "orpo": 0.1, "simpo": 2.0, "kto": 0.1}


class PreferenceSection(Config):
    """`[preference]`: the loss."""

    method: Method = "dpo"
    beta: PositiveFloat | None = None  # how far the model may move from the reference: small is far
    gamma: NonNegativeFloat = 0.5  # simpo: by how much the chosen answer is to lead

    @property
    def strength(self) -> float:
        """beta, or the method's own default."""
        return BETAS[self.method] if self.beta is None else self.beta


class PreferRecipe(FinetuneRecipe):
    """All sections."""

    data: AskingSection = AskingSection()
    preference: PreferenceSection = PreferenceSection()

    def filled(self) -> Self:
        """With the method's own beta."""
        p = self.preference
        return self.replace(preference=p.model_dump() | {"beta": p.strength})
