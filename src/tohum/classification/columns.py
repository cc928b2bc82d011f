"""A table -> which columns hold the text and the label and whether the first row is a header, with the reasons.

Names win over content ("text", "label" and the like), the user's choice over both. By content, a text column is
prose: mostly letters, three words and more on average, seldom repeated; a label column repeats few values. Two text
columns (a title and a text) are joined. What stays ambiguous is an error that names the flags to give.
"""

import difflib
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

from tohum.classification.table import Table
from tohum.errors import DataError

LABEL_NAMES = ("label", "labels", "class", "category", "sentiment", "target", "y", "intent", "topic", "etiket", "sınıf",
               "sinif", "kategori", "duygu")
TEXT_NAMES = ("text", "sentence", "message", "content", "review", "body", "document", "description", "tweet", "comment",
              "utterance", "sms", "metin", "cümle", "cumle", "yorum", "mesaj")
TITLE_NAMES = ("title", "headline", "subject", "başlık", "baslik")
LOOKED_AT = 1000  # cells of a column, for its averages
MOST_JOINED = 2  # columns of prose that are joined unless told


@dataclass(frozen=True, kw_only=True)
class ColumnGuess:
    """Columns are numbered from 1. `names`: those of a header or of the records; None where there are none."""

    text_columns: tuple[int, ...]
    label_column: int
    header: bool
    names: tuple[str, ...] | None
    reasons: tuple[str, ...]

    def describe(self) -> str:
        """"text: column 2, label: column 1, no header, because …"; every clause as one line shows it."""
        def name(number: int) -> str:
            return f"column {number}" + (f" '{self.names[number - 1]}'" if self.names else "")

        header = "header in the first row" if self.header else "no header" if self.names is None else "named columns"
        text = " + ".join(map(name, self.text_columns))
        return f"text: {text}, label: {name(self.label_column)}, {header}, because {'; '.join(self.reasons)}"


@dataclass(frozen=True, kw_only=True)
class Profile:
    """What one column looks like, header left out."""

    filled: int
    distinct: int
    words: float  # on average
    numeric: bool
    nested: bool
    letters_fraction: float  # of what is no blank
    values: frozenset[str]

    @property
    def prose(self) -> bool:
        return (not self.nested and self.words >= 3 and self.letters_fraction > 0.5
                and 3 * self.distinct >= self.filled > 0)

    @property
    def few(self) -> bool:
        """Could be a label: values come back; in 20 rows and less that cannot be asked."""
        return not self.nested and not self.prose and 0 < self.distinct <= max(self.filled // 2, 20)


def find_columns(table: Table, *, text_column: str | None, label_column: str | None) -> ColumnGuess:
    """text_column: names or numbers, several separated by commas; None: guessed. Raises DataError."""
    names, header, reasons = header_of(table, [c for c in (text_column, label_column) if c])
    start = 1 if header else 0
    profiles = [profile([row[column] for _, row in table.rows[start:]]) for column in range(table.width)]
    named = replace(table, names=names)
    if table.width < 2:
        raise DataError(f"{table.path}: one column only; expected a text and a label in every row")
    label = resolve(named, label_column, flag="--label-column", own=not header) if label_column else None
    text = resolve_all(named, text_column, own=not header) if text_column else None
    if label is not None and text and label in text:
        raise DataError(f"{table.path}: column {label + 1} cannot be both the text and the label; "
                        "change --text-column or --label-column")
    reasons += ["you chose " + " and ".join(what for what, given in (("the text", text), ("the label", label))
                                            if given is not None)] if text or label is not None else []
    text, label, why = complete(named, profiles, text, label)
    return ColumnGuess(text_columns=tuple(column + 1 for column in text), label_column=label + 1, header=header,
                       names=names, reasons=(*reasons, *why))


def profile(values: Sequence[Any]) -> Profile:
    """Averages over the first thousand cells, distinct values over all."""
    nested = any(isinstance(value, list | dict) for value in values)
    cells = [] if nested else [text for value in values if value is not None and (text := str(value).strip())]
    some = cells[:LOOKED_AT]
    whole = "".join("".join(some).split())
    return Profile(
        filled=len(cells), distinct=len(set(cells)), nested=nested, numeric=bool(cells) and all(map(is_number, cells)),
        words=sum(len(cell.split()) for cell in some) / max(1, len(some)), values=frozenset(cells),
        letters_fraction=sum(map(str.isalpha, whole)) / max(1, len(whole)))


def is_number(text: str) -> bool:
    try:
        float(text)
    except ValueError:
        return False
    return True


def header_of(table: Table, chosen: Sequence[str]) -> tuple[tuple[str, ...] | None, bool, list[str]]:
    """(names of the columns, whether the first row holds them, why)."""
    if table.names is not None:
        return table.names, False, []
    first = tuple(cell.strip() for cell in table.rows[0][1])
    said = [cell for name in chosen for cell in (name, *name.split(",")) if cell.strip() in first
            and not cell.strip().isdigit()]
    if said:
        return first, True, [f"the first row holds '{said[0].strip()}'"]
    header, why = looks_like_header(first, [profile([row[column] for _, row in table.rows[1:]])
                                            for column in range(table.width)])
    return (first if header else None), header, [why]


def looks_like_header(first: Sequence[str], below: Sequence[Profile]) -> tuple[bool, str]:
    """Whether a first row is unlike the rows below it, and how that was seen."""
    for number, (cell, column) in enumerate(zip(first, below, strict=True), 1):
        if column.few and cell in column.values:
            return False, f"'{cell[:30]}' of the first row comes again below it in column {number}"
    for cell in first:
        if cell.casefold() in (*LABEL_NAMES, *TEXT_NAMES):
            return True, f"the first row holds '{cell}'"
    for cell, column in zip(first, below, strict=True):
        if column.numeric and not is_number(cell):
            return True, f"'{cell[:30]}' of the first row stands above numbers"
        if column.prose and len(cell.split()) * 2 < column.words and all(len(name.split()) <= 3 for name in first):
            return True, f"'{cell[:30]}' of the first row stands above sentences"
    return False, "the first row looks like the others"


def resolve(table: Table, wanted: str, *, flag: str, own: bool) -> int:
    """A name or a number from 1 -> the index of the column; with `own` names, a name that is a number is a name."""
    names, wanted = table.names or (), wanted.strip()
    if wanted in names and (own or not wanted.isdigit()):
        return names.index(wanted)
    if wanted.isdigit():
        if 1 <= int(wanted) <= table.width:
            return int(wanted) - 1
        raise DataError(f"{table.path}: no column {wanted}; there are {table.width}, numbered from 1: give {flag}")
    if not names:
        first = ", ".join(str(cell)[:20] for cell in table.rows[0][1])
        raise DataError(f"{table.path}:{table.rows[0][0]}: no column '{wanted}' in the first row: {first}\n"
                        f"the file has no header; give {flag} a number from 1 to {table.width}")
    near = difflib.get_close_matches(wanted.casefold(), [name.casefold() for name in names], n=1)
    hint = next((f"; did you mean '{name}'?" for name in names if near and name.casefold() == near[0]), "")
    raise DataError(f"{table.path}: no column '{wanted}'{hint}\nthe columns that are there: {', '.join(names[:12])}")


def resolve_all(table: Table, wanted: str, *, own: bool) -> list[int]:
    """Several columns separated by commas; a name that holds a comma itself is found first."""
    parts = [wanted] if wanted.strip() in (table.names or ()) else wanted.split(",")
    return list(dict.fromkeys(resolve(table, part, flag="--text-column", own=own) for part in parts))


def complete(table: Table, profiles: Sequence[Profile], text: list[int] | None,
             label: int | None) -> tuple[list[int], int, list[str]]:
    """What the user left open, by name, then by content. Raises DataError where nothing or too much fits."""
    reasons: list[str] = []
    if label is None and (by_name := named(table, LABEL_NAMES, besides=text or ())) is not None:
        label = by_name
        reasons.append("the label by its name")
    if text is None:
        open_columns = [c for c in range(table.width) if c != label]
        text, why = text_columns(table, profiles, open_columns)
        reasons += why
    if label is None:
        label, why = label_column(table, profiles, [c for c in range(table.width) if c not in text])
        reasons += why
    if not text:  # no prose and no name: short texts, known as what is not the label
        rest = [c for c in range(table.width) if c != label and not profiles[c].numeric and not profiles[c].nested]
        if len(rest) != 1:
            raise unclear(table, rest, "the text", "--text-column")
        text = rest
        reasons.append("the text is what is left")
    return text, label, reasons


def named(table: Table, known: Sequence[str], besides: Sequence[int] = ()) -> int | None:
    """The column of a known name: the first name of the list wins outright, any other only if it is alone."""
    found = {name.casefold().strip(): index for index, name in enumerate(table.names or ()) if index not in besides}
    hits = [name for name in known if name in found]
    return found[hits[0]] if hits and (hits[0] == known[0] or len(hits) == 1) else None


def text_columns(table: Table, profiles: Sequence[Profile], columns: Sequence[int]) -> tuple[list[int], list[str]]:
    """The text among some columns: by name (after a title if there is one), or prose; none where neither fits."""
    others = [c for c in range(table.width) if c not in columns]
    by_name = named(table, TEXT_NAMES, besides=others)
    title = named(table, TITLE_NAMES, besides=others)
    if by_name is not None:
        chosen = [by_name] if title is None else [title, by_name]
        return chosen, ["the text by its name" + (", after its title" if title is not None else "")]
    prose = [c for c in columns if profiles[c].prose]
    if len(prose) > MOST_JOINED:
        raise unclear(table, prose, "the text", "--text-column")
    if len(prose) == 2:
        return prose, ["two columns hold sentences (--text-column takes one only)"]
    return prose, [f"column {c + 1} holds sentences" for c in prose]


def label_column(table: Table, profiles: Sequence[Profile], columns: Sequence[int]) -> tuple[int, list[str]]:
    """The label among some columns: few values that come again; constant columns and numberings step back."""
    few = [c for c in columns if profiles[c].few]
    again = [c for c in few if profiles[c].distinct < profiles[c].filled]
    varied = [c for c in again if profiles[c].distinct > 1]
    left = varied or again or few
    if len(left) != 1:
        raise unclear(table, left, "the label", "--label-column")
    count = profiles[left[0]].distinct
    return left[0], [f"column {left[0] + 1} holds {count} different value{'s' if count != 1 else ''}"]


def unclear(table: Table, columns: Sequence[int], what: str, flag: str) -> DataError:
    """The error for none or several columns."""
    def shown(column: int) -> str:
        return f"{column + 1}" + (f" '{table.names[column]}'" if table.names else "")

    every = ", ".join(shown(column) for column in range(min(table.width, 12)))
    seen = (f"columns {', '.join(map(shown, columns))} could all be {what}" if columns else
            f"no column looks like {what}; the columns: {every}")
    return DataError(f"{table.path}: {seen}\nname it by name or number from 1: {flag} {(columns or [0])[0] + 1}")
