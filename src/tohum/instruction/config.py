"""The recipe of an instruction run."""

from tohum.finetuning.config import AskingSection, FinetuneRecipe
from tohum.finetuning.encode import Loss
from tohum.finetuning.layout import Packing


class ConversationsSection(AskingSection):
    """`[data]`: which conversations, how they are written, what is learned of them."""

    loss: Loss = "answers"
    packing: Packing = "isolated"


class InstructRecipe(FinetuneRecipe):
    """All sections."""

    data: ConversationsSection = ConversationsSection()
