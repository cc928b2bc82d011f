"""Rows of a data file: JSONL, JSON list, CSV, TSV or Parquet -> (place, row), the place as "file:line"."""

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

from tohum.documents.records import (
    clean,
    csv_rows,
    json_kind,
    json_rows,
    jsonl_rows,
    parquet_columns,
    parquet_names,
    tsv_rows,
)
from tohum.documents.source import format_of
from tohum.errors import DataError

READERS: dict[str, Callable[[Path], Iterator[tuple[int, Any]]]] = {
    "jsonl": jsonl_rows, "json": json_rows, "csv": csv_rows, "tsv": tsv_rows,
    "parquet": lambda path: parquet_columns(path, parquet_names(path))}
Row = dict[str, Any]


def read_rows(path: Path) -> Iterator[tuple[str, Row]]:
    """Every row with its texts cleaned: Unix line ends, whole characters. Keys lose the spaces around them.

    Items of a JSON list that begin on one line are told apart by their number. Raises DataError.
    """
    if not path.is_file():
        raise DataError(f"{path}: {'a folder' if path.is_dir() else 'no such file'}; "
                        "expected a file of rows: JSONL, JSON, CSV, TSV or Parquet")
    kind = format_of(path)
    if kind == "text":
        raise DataError(f"{path}: the rows of such a file are not known here; expected a name that ends in .jsonl, "
                        ".json, .csv, .tsv or .parquet")
    before = None
    for number, (line, row) in enumerate(READERS[kind](path), 1):
        place = f"{path}:{line}" + (f" (item {number})" if line == before else "")
        before = line
        if not isinstance(row, dict):
            raise DataError(f"{place}: a JSON {json_kind(row)}; expected an object with a key for each field")
        yield place, cleaned({str(key).strip(): value for key, value in row.items()})


def cleaned(value: Any) -> Any:
    """Texts inside lists and objects too."""
    if isinstance(value, str):
        return clean(value)
    if isinstance(value, list):
        return [cleaned(inner) for inner in value]
    if isinstance(value, dict):
        return {key: cleaned(inner) for key, inner in value.items()}
    return value
