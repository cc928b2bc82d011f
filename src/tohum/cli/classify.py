"""`tohum classify`: a classifier and texts -> label and probability of every class."""

import json
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from tohum.cli.options import FOLDER, device_options, json_option
from tohum.cli.output import emit, say

if TYPE_CHECKING:
    from tohum.classification.predict import Predictor


@click.command("classify")
@click.argument("model", type=FOLDER)
@click.option("--text", "texts", multiple=True, metavar="TEXT", help="What to classify; repeatable.")
@click.option("--file", type=click.Path(path_type=Path), help="One text per line, or rows of CSV, TSV, JSONL, JSON or "
              "Parquet; '-' for lines of stdin.")
@click.option("--text-column", metavar="C", help="Name or number (from 1) of the text in a file of rows.")
@device_options
@json_option
def command(model: Path, texts: tuple[str, ...], file: Path | None, text_column: str | None, seed: int | None,
            device: str, dtype: str, as_json: bool) -> None:
    """Classify texts with a run of `tohum finetune classify`, an adapter, or any classifier folder.

    \b
    A file gives one JSON object per line, in its order; --json puts them into one object:
      tohum classify runs/spam --text "You have won a prize"
      tohum classify runs/spam --file inbox.txt > labels.jsonl
    Nothing here is random: --seed changes nothing.
    """
    import torch

    from tohum.classification.predict import load_predictor
    from tohum.errors import ConfigError
    from tohum.machine import pick_device

    if bool(texts) == (file is not None):
        raise ConfigError("classify needs something to classify: give either --text TEXT or --file FILE")
    formats = {"bf16": torch.bfloat16, "fp16": torch.float16, "fp32": torch.float32, "auto": torch.float32}
    given = read_texts(texts, file, text_column)
    predictor = load_predictor(model, device=pick_device(device), dtype=formats[dtype])
    rows = answers(predictor, given)
    if file is None:
        show(list(rows), as_json)
    elif as_json:
        emit({"rows": list(rows)}, "", as_json=True)
    else:
        for row in rows:
            print(json.dumps(row, ensure_ascii=False), flush=True)
        say(f"{len(given):,} texts; probabilities at temperature {predictor.temperature:.3f}")


def read_texts(texts: Sequence[str], file: Path | None, text_column: str | None) -> list[str]:
    """Those of the command line, or every text of a file, in its order. Raises DataError, ConfigError."""
    from tohum.classification.texts import check_texts, texts_of

    found = list(texts) if file is None else texts_of(file, text_column)
    check_texts(found, "--text" if file is None else str(file))
    return found


def answers(predictor: "Predictor", texts: list[str]) -> Iterator[dict[str, Any]]:
    """Text, label, probabilities; so many at a time that memory stays bounded."""
    from tohum.classification.predict import TEXTS_AT_ONCE

    for start in range(0, len(texts), TEXTS_AT_ONCE):
        part = texts[start : start + TEXTS_AT_ONCE]
        for text, row in zip(part, predictor.probabilities(part), strict=True):
            yield {"text": text, "label": predictor.best(row),
                   "probabilities": dict(zip(predictor.labels, map(float, row), strict=True))}


def show(rows: list[dict[str, Any]], as_json: bool) -> None:
    """One text: its label, then every class by falling probability; several: one after the other."""
    result = rows[0] | ({"rows": rows} if len(rows) > 1 else {})
    shown = []
    for row in rows:
        ordered = sorted(row["probabilities"].items(), key=lambda item: -item[1])
        shown.append(f"{row['label']}\n" + "\n".join(f"  {value:7.2%}  {label}" for label, value in ordered))
    emit(result, "\n".join(shown), as_json)
