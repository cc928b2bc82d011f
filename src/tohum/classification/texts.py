"""A file of texts without labels -> the texts, in its order: lines, or one column of a table."""

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

from tohum.classification.columns import header_of, resolve_all
from tohum.classification.table import read_table
from tohum.documents.source import format_of
from tohum.documents.text import read_lines
from tohum.errors import ConfigError, DataError

TABLES = ("csv", "tsv", "jsonl", "json", "parquet")


def texts_of(file: Path, text_column: str | None) -> list[str]:
    """Lines of a text file (blank ones left out), or the column of a table that --text-column names.

    Raises DataError with file and line, ConfigError where the column is not told and there are several.
    """
    if str(file) == "-" or format_of(file) not in TABLES:
        if text_column is not None:
            raise ConfigError(f"--text-column {text_column}: {file} is read line by line; a table is CSV, TSV, JSONL, "
                              "JSON or Parquet by its suffix")
        found = [line.rstrip("\n") for line in lines(file) if line.strip()]
        if not found:
            raise DataError(f"{file}: no text in it; expected one text per line")
        return found
    table = read_table(file)
    if text_column is None and table.width > 1:
        names = ", ".join(table.names or [str(cell)[:20] for cell in table.rows[0][1]])
        raise ConfigError(f"{file}: has {table.width} columns ({names}); say with --text-column which one is the text")
    names, header, _ = header_of(table, (text_column,) if text_column else ())
    columns = resolve_all(replace(table, names=names), text_column, own=not header) if text_column else [0]
    return ["\n".join(str(cells[column] or "") for column in columns)
            for _, cells in table.rows[1 if header else 0:]]


def check_texts(texts: Sequence[str], where: str) -> None:
    """Before the first is classified. Raises DataError for one without any character."""
    for number, text in enumerate(texts, 1):
        if not text.strip():
            raise DataError(f"{where}: text {number:,} is empty; a classifier needs something to read\n"
                            "leave it out, or fill it in")


def lines(file: Path) -> list[str]:
    """Of a file, or of stdin. Raises DataError."""
    if str(file) != "-":
        if not file.is_file():
            raise DataError(f"{file}: no such file; expected one text per line, or a table")
        return list(read_lines(file))
    import sys

    try:
        return sys.stdin.buffer.read().decode("utf-8").splitlines()
    except UnicodeDecodeError as error:
        raise DataError(f"stdin: not UTF-8 text: {error.reason} at byte {error.start}") from None
