"""`tohum tokenizer`: train one, look at what it does, compare several."""

import sys
from pathlib import Path
from typing import Any

import click

from tohum.cli.options import COUNT, FOLDER, force_option, json_option
from tohum.cli.output import emit, say

KINDS = ("bpe", "wordpiece", "unigram", "word", "char")
TOKENIZER = click.option("--tokenizer", "path", type=FOLDER, required=True,
                         help="Folder or file: tokenizer.json, encoder.json, .tiktoken, .model, a model folder.")


@click.group("tokenizer")
def command() -> None:
    """Text to token ids and back: train, encode, decode, inspect, compare."""


@command.command("train")
@click.argument("sources", nargs=-1, required=True)
@click.option("--kind", type=click.Choice(KINDS), default="bpe", show_default=True,
              help="bpe, wordpiece and unigram start from bytes and lose nothing; word and char are for learning.")
@click.option("--vocab-size", type=COUNT, help="Entries, special tokens included. [4096; char: as many as there are]")
@click.option("--pattern", default="qwen2", show_default=True, help="How text is cut into words: gpt-2, qwen2, "
              "llama-bpe. All are known to llama.cpp by name.")
@click.option("--train-bytes", type=COUNT, default="256M", show_default=True,
              help="Learn from an even sample of at most this much text.")
@click.option("--split", type=click.Choice(["auto", "file", "line", "blank", "record"]), default="auto",
              show_default=True, help="What one document is.")
@click.option("--text-key", default="text", show_default=True, help="Column or key of records.")
@click.option("--out", type=FOLDER, required=True, help="Folder to write.")
@force_option
@json_option
def train_command(sources: tuple[str, ...], kind: Any, vocab_size: int | None, pattern: str, train_bytes: int,
                  split: Any, text_key: str, out: Path, force: bool, as_json: bool) -> None:
    """Learn a vocabulary from files, folders, JSONL, CSV, Parquet, '-' (stdin), python-docs or python-source."""
    import time

    from tohum.documents.source import open_sources
    from tohum.files import refuse_existing
    from tohum.tokenizing.sampling import EvenSample
    from tohum.tokenizing.training import train

    refuse_existing_check(out, force)
    started = time.perf_counter()
    sample = EvenSample(open_sources(sources, split=split, text_key=text_key), train_bytes)
    say(f"learning {kind} from {', '.join(sources)}")
    tokenizer = train(sample, kind=kind, vocab_size=vocab_size, pattern=pattern)
    texts = [text for text, _ in zip(sample, range(64), strict=False)]
    size = sum(len(text.encode("utf-8")) for text in texts)
    tokens = sum(len(ids) for ids in tokenizer.encode_batch(texts))
    refuse_existing(out, force)
    tokenizer.save(out)
    sampled = f" (an even sample of {sample.fraction:.1%})" if sample.fraction < 1 else ""
    result = {"kind": kind, "vocab_size": tokenizer.vocab_size, "bytes_per_token": round(size / max(1, tokens), 4),
              "seconds": round(time.perf_counter() - started, 3), "out": str(out), "pattern": tokenizer.pattern,
              "sampled_fraction": round(sample.fraction, 6), "sha256": tokenizer.sha256}
    emit(result, f"{kind} with {tokenizer.vocab_size:,} entries{sampled}: {result['bytes_per_token']:.2f} bytes per "
         f"token, {result['seconds']:.1f} s\nwritten to {out}", as_json)


def refuse_existing_check(out: Path, force: bool) -> None:
    """Say it before the work, remove only after it."""
    from tohum.files import refuse_existing

    if not force:
        refuse_existing(out, force=False)


@command.command("encode")
@TOKENIZER
@click.option("--text", help="The text; without it, stdin.")
@json_option
def encode_command(path: Path, text: str | None, as_json: bool) -> None:
    """Text to ids."""
    from tohum.tokenizing.tokenizer import Tokenizer

    ids = Tokenizer.load(path).encode(stdin_text() if text is None else text)
    emit({"ids": ids}, " ".join(map(str, ids)), as_json)


@command.command("decode")
@TOKENIZER
@click.argument("ids", nargs=-1)
@json_option
def decode_command(path: Path, ids: tuple[str, ...], as_json: bool) -> None:
    """Ids to text; without arguments they are read from stdin."""
    from tohum.errors import DataError
    from tohum.tokenizing.tokenizer import Tokenizer

    words = ids or stdin_text().split()
    if wrong := [word for word in words if not word.strip(",").isdecimal()]:
        raise DataError(f"'{wrong[0]}' is no token id; expected whole numbers")
    text = Tokenizer.load(path).decode(int(word.strip(",")) for word in words)
    emit({"text": text}, text, as_json)


@command.command("inspect")
@TOKENIZER
@click.option("--text", help="The text; without it, stdin.")
@json_option
def inspect_command(path: Path, text: str | None, as_json: bool) -> None:
    """Show the pieces of a text with their ids and bytes."""
    from tohum.tokenizing.tokenizer import Tokenizer

    tokenizer = Tokenizer.load(path)
    text = stdin_text() if text is None else text
    ids = tokenizer.encode(text)
    pieces = [tokenizer.token_text(i) for i in ids]
    size = len(text.encode("utf-8"))
    special = {role: value for role in ("bos", "eos", "pad", "unk")
               if (value := getattr(tokenizer.special, role)) is not None}
    rows = [f"{i:>8}  {piece!r}" for i, piece in zip(ids, pieces, strict=True)]
    facts = (f"{tokenizer.kind}, {tokenizer.vocab_size:,} entries, pattern {tokenizer.pattern or 'of its own'}, "
             f"special {special or 'none'}")
    summary = f"{len(ids)} tokens for {size} bytes: {size / max(1, len(ids)):.2f} bytes per token"
    emit({"ids": ids, "pieces": pieces, "kind": tokenizer.kind, "vocab_size": tokenizer.vocab_size,
          "special": special}, "\n".join([facts, "|".join(pieces), *rows, summary]), as_json)


@command.command("compare")
@click.argument("paths", nargs=-1, required=True, type=FOLDER)
@click.option("--text", "source", required=True, help="File, folder, python-docs or python-source.")
@json_option
def compare_command(paths: tuple[Path, ...], source: str, as_json: bool) -> None:
    """Bytes per token, speed and unused vocabulary of several tokenizers on one text."""
    from dataclasses import asdict

    from tohum.documents.source import open_sources
    from tohum.tokenizing.compare import compare
    from tohum.tokenizing.tokenizer import Tokenizer

    texts = [document.text for opened in open_sources([source]) for document in opened.documents()]
    rows = compare([(str(path), Tokenizer.load(path)) for path in paths], texts)
    head = (f"{'tokenizer':<28}{'kind':>10}{'entries':>9}{'tokens':>11}{'bytes/token':>13}{'MB/s':>8}{'unused':>8}"
            "  exact")
    lines = [f"{row.name[-27:]:<28}{row.kind:>10}{row.vocab_size:>9,}{row.tokens:>11,}{row.bytes_per_token:>13.3f}"
             f"{row.megabytes_per_second:>8.1f}{row.unused:>8,}  {'yes' if row.exact else 'no'}" for row in rows]
    emit({"rows": [asdict(row) for row in rows]}, "\n".join([head, *lines]), as_json)


def stdin_text() -> str:
    """Standard input as UTF-8, line ends as they are. Raises DataError with the place of a byte that is none."""
    from tohum.errors import DataError

    data = sys.stdin.buffer.read()
    try:
        return data.decode("utf-8")
    except UnicodeDecodeError as error:
        raise DataError(f"standard input: byte {error.start} (0x{data[error.start]:02X}) is no UTF-8") from None
