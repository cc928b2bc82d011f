"""`tohum evaluate`: a model and text -> loss, perplexity and bits per byte, with the hash of the weights.

With --against, the same for two models, and what each answers to given prompts: the before/after card.
"""

from collections.abc import Iterable, Iterator
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from tohum.cli.generate import open_model
from tohum.cli.options import FOLDER, device_options, json_option
from tohum.cli.output import emit

if TYPE_CHECKING:
    from tohum.data_sampling.batch import Batch
    from tohum.documents.document import Document
    from tohum.evaluation.perplexity import Evaluation
    from tohum.loading.folder import LoadedModel


@click.command("evaluate")
@click.argument("model", type=FOLDER)
@click.option("--text", "texts", multiple=True, metavar="SOURCE",
              help="A file or folder of text or records, '-' for stdin, python-docs; repeatable.")
@click.option("--data", type=FOLDER, help="A folder that 'tohum data prepare' wrote: its validation split.")
@click.option("--against", type=FOLDER, metavar="BASE",
              help="The model it was made from: shows what it gained and forgot. The text may then be left out.")
@click.option("--prompts", type=FOLDER, help="With --against: JSONL rows with prompt and expected, for both to answer.")
@click.option("--max-tokens", type=click.IntRange(1), default=128, show_default=True, help="Of an answer, at most.")
@click.option("--max-length", type=click.IntRange(1), help="Tokens per window. [the model's context]")
@click.option("--batch-rows", type=click.IntRange(1), default=16, show_default=True,
              help="Windows per pass; changes speed and memory only.")
@device_options
@json_option
def command(model: Path, texts: tuple[str, ...], data: Path | None, against: Path | None, prompts: Path | None,
            max_tokens: int, max_length: int | None, batch_rows: int, seed: int | None, device: str, dtype: str,
            as_json: bool) -> None:
    """Measure a model on a text that it did not learn from.

    \b
    Every token but the first is predicted once, from the tokens before it in its window:
      tohum evaluate runs/first --text book.txt
      tohum evaluate runs/first --data data
    \b
    A tuned model beside the one it was made from, on prompts and on a text that has nothing to do with them
    (python-docs, unless told):
      tohum evaluate runs/assistant --against models/base --prompts test.jsonl
    Nothing here is random: --seed changes nothing.
    """
    from tohum.errors import ConfigError

    if (texts and data) or not (texts or data or against):
        raise ConfigError("evaluate needs a text: give either --text SOURCE or --data DIR")
    if prompts and not against:
        raise ConfigError("--prompts: answers are compared with those of another model; name it with --against BASE")
    if against is None:
        loaded = open_model(model, device, dtype)
        length = window_length(max_length, loaded.config.context)
        result, shown = measured(loaded, texts=texts, data=data, length=length, rows=batch_rows)
    else:
        from tohum.cli.against import Comparison, compared

        result, shown = compared(Comparison(
            tuned=model, base=against, texts=texts, data=data, prompts=prompts, max_tokens=max_tokens,
            max_length=max_length, batch_rows=batch_rows, device=device, dtype=dtype))
    emit(result, shown, as_json)


def window_length(max_length: int | None, context: int) -> int:
    """Tokens per window. Raises ConfigError."""
    from tohum.errors import ConfigError

    if max_length is not None and max_length > context:
        raise ConfigError(f"--max-length {max_length:,}: the model's context is {context:,} tokens; "
                          "give that or less")
    return max_length or context


def measured(loaded: "LoadedModel", *, texts: tuple[str, ...], data: Path | None, length: int,
             rows: int) -> tuple[dict[str, Any], str]:
    """One model: the --json object, and what people read."""
    from itertools import chain

    from tohum.documents.source import open_sources
    from tohum.evaluation.perplexity import evaluate

    if data is None:
        documents = chain.from_iterable(source.documents() for source in open_sources(texts))
        windows = text_windows(loaded, documents, length=length, rows=rows)
    else:
        windows = data_windows(loaded, data, length=length, rows=rows)
    found = evaluate(loaded.network, windows, loaded.tokenizer.byte_lengths)
    return figures(found, loaded.sha256, length)


def figures(found: "Evaluation", sha256: str, length: int) -> tuple[dict[str, Any], str]:
    """The figures of one text: the --json object, and what people read."""
    return asdict(found) | {"model_sha256": sha256, "max_length": length}, (
        f"bits per byte  {found.bits_per_byte:.4f}\n"
        f"loss           {found.loss:.4f} nats per token\n"
        f"perplexity     {found.perplexity:,.2f} per token\n"
        f"text           {found.bytes:,} bytes in {found.tokens:,} tokens, windows of {length:,}\n"
        f"model          sha256 {sha256}")


def text_windows(loaded: "LoadedModel", documents: Iterable["Document"], *, length: int,
                 rows: int) -> Iterator["Batch"]:
    """Windows over the documents."""
    from tohum.data_sampling.loader import text_batches
    from tohum.evaluation.text import text_ids

    return text_batches(text_ids(documents, loaded.tokenizer), max_length=length, rows=rows)


def data_windows(loaded: "LoadedModel", folder: Path, *, length: int, rows: int) -> Iterator["Batch"]:
    """Windows over the validation split. Raises DataError for data of another tokenizer."""
    from tohum.data_sampling.loader import evaluation_batches
    from tohum.data_sampling.shards import DataFolder
    from tohum.errors import DataError

    data = DataFolder.open(folder)
    if data.tokenizer.sha256 != loaded.tokenizer.sha256:
        raise DataError(f"{folder}: prepared with tokenizer {data.tokenizer.sha256[:12]}, but the model has "
                        f"{loaded.tokenizer.sha256[:12]}\nprepare the data with the model's tokenizer, or use --text")
    return evaluation_batches(data, split="val", max_length=length, rows=rows)
