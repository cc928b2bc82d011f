"""A labelled file and a tokenizer -> rows shared out and encoded, with what a person is told about them."""

from dataclasses import asdict, dataclass
from typing import Any

from tohum.classification.config import ClassifyRecipe
from tohum.classification.examples import DEFAULT_MAX_LENGTH, EncodedRows, encode_rows
from tohum.classification.rows import Labelled, read_labelled
from tohum.classification.split import Split, majority_label, split_rows
from tohum.errors import ConfigError, DataError
from tohum.finetuning.base import Opened
from tohum.finetuning.stage import Say, needed


@dataclass(frozen=True, kw_only=True)
class Rows:
    """A file, read, shared out and encoded; see finetuning/stage.py, `Prepared`."""

    labelled: Labelled
    split: Split
    train: EncodedRows
    validation: EncodedRows
    test: EncodedRows
    max_length: int

    @property
    def labels(self) -> tuple[str, ...]:
        return self.labelled.labels

    @property
    def majority(self) -> str:
        """The most frequent label of the training rows."""
        return majority_label(self.split.train)

    @property
    def natural(self) -> bool:
        """The test rows are a fair sample of the file."""
        return len(self.split.train) + len(self.split.validation) + len(self.split.test) == len(self.labelled.rows)

    @property
    def sides(self) -> dict[str, EncodedRows]:
        """By name."""
        return {"train": self.train, "validation": self.validation, "test": self.test}

    def to_json(self) -> dict[str, Any]:
        """What the report shows of the data."""
        return {"labels": list(self.labels), "columns": asdict(self.labelled.guess), "notes": list(self.split.notes),
                "dropped": dict(self.labelled.dropped), "class_weights": self.split.class_weights,
                "max_length": self.max_length,
                "sides": {name: {"rows": len(side.rows), "tokens": side.examples.tokens, "cut": side.cut,
                                 "dropped": side.dropped, "length_tokens": side.quantiles}
                          for name, side in self.sides.items()}}


def prepare(recipe: ClassifyRecipe, opened: Opened, say: Say) -> Rows:
    """Read, split, encode; tells what was guessed and what is left out. Raises DataError, ConfigError."""
    d = recipe.data
    labelled = read_labelled(needed(d.file, "data"), text_column=d.text_column, label_column=d.label_column)
    split = split_rows(labelled, fractions=d.fractions, seed=recipe.training.seed, balance=d.balance)
    max_length = d.max_length or min(DEFAULT_MAX_LENGTH, opened.config.context)
    if max_length > opened.config.context:
        raise ConfigError(f"data.max_length {max_length:,}: the model's context is {opened.config.context:,} tokens")
    sides = {name: encode_rows(rows, labelled.labels, opened.tokenizer, max_length=max_length,
                               overlong=d.overlong or "truncate")
             for name, rows in (("train", split.train), ("validation", split.validation), ("test", split.test))}
    for name, side in sides.items():
        if not side.rows:
            raise DataError(f"{d.file}: every text of {name} is longer than {max_length:,} tokens and was dropped; "
                            "raise data.max_length, or give --overlong truncate")
    found = Rows(labelled=labelled, split=split, **sides, max_length=max_length)
    tell(found, say)
    return found


def tell(rows: Rows, say: Say) -> None:
    """Columns, sizes, lengths, notes."""
    say(rows.labelled.guess.describe())
    for name, side in rows.sides.items():
        lengths = ", ".join(f"{key} {value:,}" for key, value in side.quantiles.items())
        more = f"; {side.cut:,} are cut at {rows.max_length:,} tokens" if side.cut else ""
        more += f"; {side.dropped:,} longer ones are dropped" if side.dropped else ""
        say(f"{name}: {len(side.rows):,} texts, {side.examples.tokens:,} tokens (per text {lengths}){more}")
    for reason, count in rows.labelled.dropped.items():
        say(f"left out: {count:,} rows, {reason}")
    for note in rows.split.notes:
        say(f"note: {note}")
