"""Records: JSONL, JSON lists, CSV, TSV and Parquet -> one document per record, from the field `text_key`."""

import csv
import json
from collections.abc import Callable, Iterator
from functools import cache, partial
from itertools import islice
from pathlib import Path
from typing import Any

from tohum.documents.document import Document
from tohum.documents.text import not_text, raw_lines, read_lines, read_pieces
from tohum.errors import DataError

LONGEST_CSV_FIELD = 2**30
SNIFFED_LINES = 50  # looked at to find what separates the fields


def record_documents(path: Path, kind: str, text_key: str, *, place: str) -> Iterator[Document]:
    """kind: "jsonl", "json", "csv", "tsv" or "parquet". Raises DataError naming file, line and key."""
    lines = partial(jsonl_rows, loads=loads_for_text())
    readers = {"jsonl": lines, "json": json_rows, "csv": csv_rows, "tsv": tsv_rows}
    rows = parquet_rows(path, text_key) if kind == "parquet" else readers[kind](path)
    for number, row in rows:
        text = text_of(row, text_key, path, number)
        if text.strip():
            yield Document(clean(text), f"{place}:{number}")


def clean(text: str) -> str:
    """Unix line ends; half of a surrogate pair, which JSON can spell but no encoding can hold, becomes U+FFFD."""
    if "\r" in text:
        text = text.replace("\r\n", "\n").replace("\r", "\n")
    if text.isascii():
        return text
    try:
        text.encode("utf-8")  # fails on surrogates alone
    except UnicodeEncodeError:
        return text.encode("utf-16", "surrogatepass").decode("utf-16", "replace")
    return text


def text_of(row: Any, text_key: str, path: Path, number: int) -> str:
    """The text of one record; a bare JSON string is its own text."""
    if isinstance(row, str):
        return row
    if isinstance(row, dict) and isinstance(value := row.get(text_key), str):
        return value
    where = f"{path}:{number}"
    if not isinstance(row, dict):
        raise DataError(f"{where}: a JSON {json_kind(row)}; "
                        f"expected an object with the key '{text_key}', or a string")
    if text_key not in row:
        names = ", ".join(list(map(str, row))[:12]) or "none"
        raise DataError(f"{where}: no key '{text_key}'; the keys that are there: {names}\n"
                        "name the one that holds the text with --text-key")
    if row[text_key] is None:
        return ""
    raise DataError(f"{where}: '{text_key}' is a {json_kind(row[text_key])}; expected a string")


def json_kind(value: Any) -> str:
    """The JSON name of a value's type."""
    names = {dict: "object", list: "list", str: "string", bool: "boolean", int: "number", float: "number"}
    return names.get(type(value), type(value).__name__)


def loads_utf8(line: bytes) -> Any:
    """json.loads of UTF-8 and nothing else. Raises UnicodeDecodeError, JSONDecodeError."""
    return json.loads(line.decode("utf-8"))


def jsonl_rows(path: Path, loads: Callable[[bytes], Any] = loads_utf8) -> Iterator[tuple[int, Any]]:
    """One JSON value per line; blank lines are passed over."""
    for number, line in enumerate(raw_lines(path), 1):
        if line and not line.isspace():
            try:
                yield number, loads(line)
            except UnicodeDecodeError:
                raise not_text(path) from None
            except json.JSONDecodeError as error:
                if begin := line.decode("utf-8").strip()[:60]:  # else blank, too: spaces that are not ASCII
                    raise DataError(f"{path}:{number}: not valid JSON: {error.msg} at column {error.colno}\n"
                                    f"the line begins: {begin}") from None


@cache
def loads_for_text() -> Callable[[bytes], Any]:
    """The same texts as json.loads, by the `data` extra's orjson: it is stricter, and rounds integers of 20 digits."""
    try:
        import orjson
    except ImportError:
        return loads_utf8

    def loads(line: bytes) -> Any:
        try:
            return orjson.loads(line)
        except ValueError:
            return loads_utf8(line)

    return loads


def json_rows(path: Path) -> Iterator[tuple[int, Any]]:
    """The items of a top-level JSON list, streamed; a file of lines of objects is read as JSONL.

    The number of an item is the line on which it begins.
    """
    decoder, buffer, line, opened = json.JSONDecoder(), "", 1, False
    pieces = read_pieces(path)
    while True:
        stripped = buffer.lstrip(" \t\n," if opened else " \t\n")
        line += buffer[:len(buffer) - len(stripped)].count("\n")
        buffer = stripped
        if not opened and buffer:
            if buffer[0] != "[":
                yield from lines_of_objects(path)
                return
            opened, buffer = True, buffer[1:]
            continue
        if buffer.startswith("]"):
            return
        try:
            value, end = decoder.raw_decode(buffer)
            if isinstance(value, int | float) and end == len(buffer):
                raise json.JSONDecodeError("a number may go on in the next piece", buffer, end)
        except json.JSONDecodeError as error:
            piece = next(pieces, None)
            if piece is None:
                seen = f"{error.msg}" if buffer else "the list has no end"
                at = line + buffer[:error.pos].count("\n")
                raise DataError(f"{path}:{at}: not valid JSON: {seen}") from None
            buffer += piece
            continue
        yield line, value
        line += buffer[:end].count("\n")
        buffer = buffer[end:]


def lines_of_objects(path: Path) -> Iterator[tuple[int, Any]]:
    """A `.json` file that is no list: one record per line, or an error that says what was expected."""
    if next((line for line in read_lines(path) if line.strip()), "").strip() == "{":
        raise DataError(f"{path}: one JSON object over many lines; expected a list of records, "
                        "or one record per line (JSONL)")
    yield from jsonl_rows(path)


def csv_fields(path: Path) -> Iterator[tuple[int, list[str]]]:
    """The fields of every row, the header's too; the number is the line on which the row ends.

    Separated by commas, or by semicolons or tabs where only these cut the first lines into the same number of fields.
    """
    csv.field_size_limit(LONGEST_CSV_FIELD)
    reader = csv.reader(read_lines(path), delimiter=delimiter_of(path), strict=True)
    try:
        for row in reader:
            if row:
                yield reader.line_num, row
    except csv.Error as error:
        raise DataError(f"{path}:{reader.line_num}: not valid CSV: {error}") from None


def delimiter_of(path: Path) -> str:
    """"," unless only another cuts the first lines evenly: some spreadsheets write ";", others tabs."""
    lines = list(islice(read_lines(path), SNIFFED_LINES))
    for mark in ",;\t":
        widths = [len(row) for row in csv.reader(lines, delimiter=mark) if row]
        if len(lines) == SNIFFED_LINES:
            widths.pop()  # it may go on
        if len(set(widths)) == 1 and widths[0] > 1:
            return mark
    return ","


def tsv_fields(path: Path) -> Iterator[tuple[int, list[str]]]:
    """Fields separated by tabs and never quoted: a quote is a character like any other."""
    for number, line in enumerate(read_lines(path), 1):
        if line != "\n":
            yield number, line.rstrip("\n").split("\t")


def csv_rows(path: Path) -> Iterator[tuple[int, dict[str, str]]]:
    """Rows of a CSV file under the names of its header line."""
    return named_rows(path, csv_fields(path))


def tsv_rows(path: Path) -> Iterator[tuple[int, dict[str, str]]]:
    """Rows of a TSV file under the names of its header line."""
    return named_rows(path, tsv_fields(path))


def named_rows(path: Path, rows: Iterator[tuple[int, list[str]]]) -> Iterator[tuple[int, dict[str, str]]]:
    """The first row's fields name those of all others. Raises DataError for a row of another length."""
    header = next(rows, (1, [""]))[1]
    for number, fields in rows:
        if len(fields) != len(header):
            raise DataError(f"{path}:{number}: {len(fields)} fields; the header has {len(header)}: "
                            f"{', '.join(header)[:80]}")
        yield number, dict(zip(header, fields, strict=True))


def parquet_rows(path: Path, text_key: str) -> Iterator[tuple[int, dict[str, Any]]]:
    """Rows of one column. Raises DataError where it is missing, naming those that are there."""
    if text_key not in (names := parquet_names(path)):
        raise DataError(f"{path}: no column '{text_key}'; the columns that are there: "
                        f"{', '.join(names[:12])}\n"
                        "name the one that holds the text with --text-key")
    return parquet_columns(path, [text_key])


def parquet_names(path: Path) -> list[str]:
    """The columns of a Parquet file."""
    with open_parquet(path) as file:
        return list(file.schema_arrow.names)


def parquet_columns(path: Path, names: list[str]) -> Iterator[tuple[int, dict[str, Any]]]:
    """Rows of some columns, read group by group; the number is the row's, from 1."""
    number = 0
    with open_parquet(path) as file:
        for batch in file.iter_batches(batch_size=1024, columns=names):
            for row in batch.to_pylist():
                number += 1
                yield number, row


def open_parquet(path: Path) -> Any:
    """A file of pyarrow's. Raises DataError for a missing library and for a file of another kind."""
    try:
        import pyarrow
        import pyarrow.parquet
    except ImportError:
        raise DataError(f'{path}: Parquet needs one more library: pip install "tohum[data]"') from None
    try:
        return pyarrow.parquet.ParquetFile(path)
    except pyarrow.ArrowInvalid as error:
        raise DataError(f"{path}: not a Parquet file: {str(error).splitlines()[0]}") from None
