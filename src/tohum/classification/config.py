"""The recipe of a classification run."""

from tohum.classification.split import FRACTIONS, Balance
from tohum.finetuning.config import ExamplesSection, FinetuneRecipe


class LabelsSection(ExamplesSection):
    """`[data]`: which rows, which columns, how they are shared out."""

    text_column: str | None = None  # by name, or by number from 1; "title,text" joins two
    label_column: str | None = None
    balance: Balance = "weights"
    fractions: tuple[float, float, float] = FRACTIONS  # train, validation, test


class ClassifyRecipe(FinetuneRecipe):
    """All sections."""

    data: LabelsSection = LabelsSection()
