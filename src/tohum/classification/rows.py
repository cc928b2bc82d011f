"""Any labelled file -> rows: text, label and place, with the guess of its columns and what was left out.

CSV, TSV, JSONL, JSON lists and Parquet; `python-docs` is the set that every Python carries (docstring -> package).
"""

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from tohum.classification.columns import ColumnGuess, find_columns, is_number
from tohum.classification.table import Table, read_table
from tohum.documents.python_tasks import labelled_docs
from tohum.documents.records import clean, json_kind
from tohum.errors import DataError

EMBEDDED = "python-docs"
MOST_CLASSES = 1000
FEWEST_ROWS_TO_JUDGE = 20  # below it, many different labels prove nothing
JOINT = "\n"  # between the text columns of a row


@dataclass(frozen=True, kw_only=True, slots=True)
class LabelledRow:
    """One example; `place` is "file:line", as the reader's errors name it."""

    text: str
    label: str
    place: str


@dataclass(frozen=True, kw_only=True)
class Labelled:
    """All rows of a file. `labels`: sorted, numbers by their value. `dropped`: reason -> rows left out."""

    rows: tuple[LabelledRow, ...]
    labels: tuple[str, ...]
    guess: ColumnGuess
    dropped: dict[str, int] = field(default_factory=dict)


def read_labelled(path: Path, *, text_column: str | None = None, label_column: str | None = None) -> Labelled:
    """text_column, label_column: by name or by number from 1; several text columns ("title,text") are joined by a
    line end; None: guessed. Rows without text are dropped and counted.

    Raises DataError, with file and line, for a missing label, one class only, labels that are no classes, and
    columns that are not there or cannot be told apart.
    """
    if str(path) == EMBEDDED:
        return embedded(text_column or label_column)
    table = read_table(path)
    guess = find_columns(table, text_column=text_column, label_column=label_column)
    rows, dropped = rows_of(table, guess)
    labels = sorted_labels({row.label for row in rows})
    check_classes(path, rows, labels, guess)
    return Labelled(rows=rows, labels=labels, guess=guess, dropped=dropped)


def embedded(column: str | None) -> Labelled:
    """The docstrings of the standard library and their packages."""
    if column:
        raise DataError(f"{EMBEDDED}: no column '{column}'; its text and label are fixed: "
                        "leave out --text-column and --label-column")
    rows = tuple(LabelledRow(text=text, label=label, place=f"{EMBEDDED}:{number}")
                 for number, (text, label) in enumerate(labelled_docs(), 1))
    guess = ColumnGuess(text_columns=(1,), label_column=2, header=False, names=("docstring", "package"),
                        reasons=("the set is made so",))
    return Labelled(rows=rows, labels=sorted_labels({row.label for row in rows}), guess=guess)


def rows_of(table: Table, guess: ColumnGuess) -> tuple[tuple[LabelledRow, ...], dict[str, int]]:
    """The rows with text and label. Raises DataError where labels are missing, naming the first."""
    found: list[LabelledRow] = []
    missing: list[str] = []
    dropped: Counter[str] = Counter()
    for number, cells in table.rows[1 if guess.header else 0:]:
        place = f"{table.path}:{number}"
        parts = [cell_text(cells[column - 1], column, place) for column in guess.text_columns]
        text = JOINT.join(part for part in parts if part)
        label = cell_text(cells[guess.label_column - 1], guess.label_column, place)
        if not text:
            dropped["empty text"] += 1
        elif not label:
            missing.append(place)
        else:
            found.append(LabelledRow(text=text, label=label, place=place))
    if missing:
        others = f" (and {len(missing) - 1:,} more rows)" if len(missing) > 1 else ""
        raise DataError(f"{missing[0]}: no label in column {guess.label_column}{others}; "
                        "fill it in or delete the row\nthe columns that were taken: "
                        f"text {','.join(map(str, guess.text_columns))}, label {guess.label_column} "
                        "(--text-column, --label-column change them)")
    return tuple(found), dict(dropped)


def cell_text(value: Any, column: int, place: str) -> str:
    """A cell as text without blanks around it; "" where it is missing. Raises DataError for a list or an object."""
    if value is None:
        return ""
    if isinstance(value, list | dict):
        raise DataError(f"{place}: column {column} holds a {json_kind(value)}; expected a string or a number\n"
                        "several labels of one row are not supported: give one of them, or other columns with "
                        "--text-column and --label-column")
    return clean(str(value).lower() if isinstance(value, bool) else str(value)).strip()


def sorted_labels(labels: set[str]) -> tuple[str, ...]:
    """Alphabetically; by value where all are numbers ("2" before "10")."""
    if all(map(is_number, labels)):
        return tuple(sorted(labels, key=lambda label: (float(label), label)))
    return tuple(sorted(labels))


def check_classes(path: Path, rows: Sequence[LabelledRow], labels: Sequence[str], guess: ColumnGuess) -> None:
    """Raises DataError where no classifier can be trained."""
    taken = f"the label was read from column {guess.label_column}; --label-column chooses another"
    if not rows:
        raise DataError(f"{path}: no row with a text\nthe text was read from column "
                        f"{','.join(map(str, guess.text_columns))}; --text-column chooses another")
    if len(labels) == 1:
        raise DataError(f"{path}: one class only, '{labels[0][:40]}', in {len(rows):,} rows; expected two or more\n"
                        f"{taken}")
    many = len(rows) > FEWEST_ROWS_TO_JUDGE and 2 * len(labels) > len(rows)
    if len(labels) > MOST_CLASSES or many:
        kind = "numbers to predict (regression)" if all(map(is_number, labels)) else "ids or free text"
        raise DataError(f"{path}: {len(labels):,} different labels in {len(rows):,} rows: {kind}, not classes; "
                        f"expected at most {MOST_CLASSES:,}, each in several rows\n{taken}")
