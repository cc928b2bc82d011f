"""`tohum evaluate`: a model and text -> loss, perplexity and bits per byte, with the hash of the weights."""

from collections.abc import Iterator
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING

import click

from tohum.cli.generate import open_model
from tohum.cli.options import FOLDER, device_options, json_option
from tohum.cli.output import emit

if TYPE_CHECKING:
    from tohum.data_sampling.batch import Batch
    from tohum.loading.folder import LoadedModel


@click.command("evaluate")
@click.argument("model", type=FOLDER)
@click.option("--text", "texts", multiple=True, metavar="SOURCE",
              help="A file or folder of text or records, '-' for stdin, python-docs; repeatable.")
@click.option("--data", type=FOLDER, help="A folder that 'tohum data prepare' wrote: its validation split.")
@click.option("--max-length", type=click.IntRange(1), help="Tokens per window. [the model's context]")
@click.option("--batch-rows", type=click.IntRange(1), default=16, show_default=True,
              help="Windows per pass; changes speed and memory only.")
@device_options
@json_option
def command(model: Path, texts: tuple[str, ...], data: Path | None, max_length: int | None, batch_rows: int,
            seed: int | None, device: str, dtype: str, as_json: bool) -> None:
    """Measure a model on a text that it did not learn from.

    \b
    Every token but the first is predicted once, from the tokens before it in its window:
      tohum evaluate runs/first --text book.txt
      tohum evaluate runs/first --data data
    Nothing here is random: --seed changes nothing.
    """
    from tohum.errors import ConfigError
    from tohum.evaluation.perplexity import evaluate

    if bool(texts) == bool(data):
        raise ConfigError("evaluate needs a text: give either --text SOURCE or --data DIR")
    loaded = open_model(model, device, dtype)
    length = max_length or loaded.config.context
    if length > loaded.config.context:
        raise ConfigError(f"--max-length {length:,}: the model's context is {loaded.config.context:,} tokens; "
                          "give that or less")
    rows = (text_windows(loaded, texts, length, batch_rows) if data is None
            else data_windows(loaded, data, length, batch_rows))
    found = evaluate(loaded.network, rows, loaded.tokenizer.byte_lengths)
    result = asdict(found) | {"model_sha256": loaded.sha256, "max_length": length}
    emit(result, f"bits per byte  {found.bits_per_byte:.4f}\n"
         f"loss           {found.loss:.4f} nats per token\n"
         f"perplexity     {found.perplexity:,.2f} per token\n"
         f"text           {found.bytes:,} bytes in {found.tokens:,} tokens, windows of {length:,}\n"
         f"model          sha256 {loaded.sha256}", as_json)


def text_windows(loaded: "LoadedModel", texts: tuple[str, ...], length: int, rows: int) -> Iterator["Batch"]:
    """Windows over the documents of the given sources."""
    from itertools import chain

    from tohum.data_sampling.loader import text_batches
    from tohum.documents.source import open_sources
    from tohum.evaluation.text import text_ids

    documents = chain.from_iterable(source.documents() for source in open_sources(texts))
    return text_batches(text_ids(documents, loaded.tokenizer), max_length=length, rows=rows)


def data_windows(loaded: "LoadedModel", folder: Path, length: int, rows: int) -> Iterator["Batch"]:
    """Windows over the validation split. Raises DataError for data of another tokenizer."""
    from tohum.data_sampling.loader import evaluation_batches
    from tohum.data_sampling.shards import DataFolder
    from tohum.errors import DataError

    data = DataFolder.open(folder)
    if data.tokenizer.sha256 != loaded.tokenizer.sha256:
        raise DataError(f"{folder}: prepared with tokenizer {data.tokenizer.sha256[:12]}, but the model has "
                        f"{loaded.tokenizer.sha256[:12]}\nprepare the data with the model's tokenizer, or use --text")
    return evaluation_batches(data, split="val", max_length=length, rows=rows)
