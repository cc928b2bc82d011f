"""A labelled file -> a table: the cells of every row with their line, and the names of the columns where it has them.

CSV and TSV come as they are: whether their first row is a header is for `columns` to find out. JSONL, JSON lists
and Parquet name their columns themselves.
"""

import math
from collections.abc import Iterator
from dataclasses import dataclass
from itertools import chain
from pathlib import Path
from typing import Any

from tohum.documents.records import (
    csv_fields,
    json_kind,
    json_rows,
    jsonl_rows,
    parquet_columns,
    parquet_names,
    tsv_fields,
)
from tohum.documents.source import format_of
from tohum.documents.text import read_lines
from tohum.errors import DataError

EXPECTED = "CSV, TSV, JSONL, a JSON list or Parquet with a text and a label in every row"


@dataclass(frozen=True, kw_only=True)
class Table:
    """`names`: None where the file has none of its own; every row: (its line, or its number in Parquet; its cells).

    A cell is a string, number or boolean, None where it is missing, a list or a dict where JSON nests.
    """

    path: Path
    names: tuple[str, ...] | None
    rows: list[tuple[int, tuple[Any, ...]]]

    @property
    def width(self) -> int:
        """Columns."""
        return len(self.rows[0][1]) if self.rows else len(self.names or ())


def read_table(path: Path) -> Table:
    """All rows of a file, blank ones left out. Raises DataError with file and line."""
    if not path.exists():
        raise DataError(f"{path}: no such file; expected {EXPECTED}, or python-docs")
    if path.is_dir():
        raise DataError(f"{path}: a folder; give one file: {EXPECTED}")
    if path.stat().st_size == 0:
        raise DataError(f"{path}: empty file; expected {EXPECTED}")
    kind = kind_of(path)
    if kind in ("csv", "tsv"):
        table = Table(path=path, names=None, rows=list(even(path, csv_fields(path) if kind == "csv" else
                                                            tsv_fields(path))))
    elif kind == "parquet":
        names = parquet_names(path)
        table = named_table(path, ((n, dict(zip(names, row.values(), strict=True)))
                                   for n, row in parquet_columns(path, names)))
    else:
        table = named_table(path, jsonl_rows(path) if kind == "jsonl" else json_rows(path))
    if not table.rows:
        raise DataError(f"{path}: no rows; expected {EXPECTED}")
    return table


def kind_of(path: Path) -> str:
    """The format by the suffix; a file of another suffix whose first line holds a tab is TSV."""
    kind = format_of(path)
    if kind != "text":
        return kind
    first = next(read_lines(path), "")
    if "\t" in first:
        return "tsv"
    raise DataError(f"{path}: no table that is known by its suffix '{path.suffix}'; expected {EXPECTED}\n"
                    f"rename it if it is one of them; its first line: {first.strip()[:60]}")


def even(path: Path, rows: Iterator[tuple[int, list[str]]]) -> Iterator[tuple[int, tuple[str, ...]]]:
    """The rows that hold anything. Raises DataError for one that is not as long as the first."""
    first = next(rows, None)
    if first is None:
        return
    for number, fields in chain([first], rows):
        if len(fields) != len(first[1]):
            raise DataError(f"{path}:{number}: {len(fields)} fields; the first row has {len(first[1])}\n"
                            "quote a field that holds the separator, or give JSONL")
        if any(field.strip() for field in fields):
            yield number, tuple(fields)


def named_table(path: Path, rows: Iterator[tuple[int, Any]]) -> Table:
    """Records -> a table with one column for every key, in the order in which the keys appear."""
    found = list(rows)
    for number, row in found:
        if not isinstance(row, dict):
            raise DataError(f"{path}:{number}: a JSON {json_kind(row)}; expected an object with a text and a label")
    names = tuple(dict.fromkeys(key for _, row in found for key in row))
    return Table(path=path, names=names,
                 rows=[(number, tuple(present(row.get(name)) for name in names)) for number, row in found])


def present(value: Any) -> Any:
    """A value, or None for the not-a-number with which tables of floats say that it is missing."""
    return None if isinstance(value, float) and math.isnan(value) else value
