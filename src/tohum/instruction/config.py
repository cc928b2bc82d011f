"""The recipe of an instruction run."""

from pydantic import NonNegativeInt, PositiveInt

from tohum.finetuning.config import ExamplesSection, FinetuneRecipe
from tohum.finetuning.encode import Loss
from tohum.finetuning.layout import Packing


class ConversationsSection(ExamplesSection):
    """`[data]`: which conversations, how they are written, what is learned of them."""

    template: str | None = None  # a style (alpaca, chatml, phi3) or a .jinja file; None: the model's own, else alpaca
    loss: Loss = "answers"
    packing: Packing = "isolated"
    fractions: tuple[float, float, float] = (0.85, 0.05, 0.1)  # train, validation, test
    answers: NonNegativeInt | None = None  # test questions that are answered before and after; None: all
    answer_tokens: PositiveInt = 128  # of an answer, at most


class InstructRecipe(FinetuneRecipe):
    """All sections."""

    data: ConversationsSection = ConversationsSection()
