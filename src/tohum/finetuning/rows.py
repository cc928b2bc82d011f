"""Rows of a data file: JSONL, JSON list, CSV, TSV or Parquet -> (place, row), the place as "file:line"."""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

from tohum.documents.records import clean, csv_rows, json_kind, json_rows, jsonl_rows, tsv_rows
from tohum.documents.source import format_of
from tohum.errors import DataError

READERS = {"jsonl": jsonl_rows, "json": json_rows, "csv": csv_rows, "tsv": tsv_rows}
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
    for number, (line, row) in enumerate(parquet_rows(path) if kind == "parquet" else READERS[kind](path), 1):
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


def parquet_rows(path: Path) -> Iterator[tuple[int, Row]]:
    """All columns, read group by group; the number is the row's, from 1."""
    try:
        import pyarrow
        import pyarrow.parquet
    except ImportError:
        raise DataError(f'{path}: Parquet needs one more library: pip install "tohum[data]"') from None
    try:
        file = pyarrow.parquet.ParquetFile(path)
    except pyarrow.ArrowInvalid as error:
        raise DataError(f"{path}: not a Parquet file: {str(error).splitlines()[0]}") from None
    number = 0
    with file:
        for batch in file.iter_batches(batch_size=1024):
            for row in batch.to_pylist():
                number += 1
                yield number, row
