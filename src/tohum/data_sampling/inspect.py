"""A data folder -> what a person reads: its sources, and windows as inputs -> targets in words."""

from collections.abc import Sequence
from typing import Any

import numpy as np

from tohum.data_sampling.shards import DataFolder, Side
from tohum.data_sampling.windows import IGNORED, Windows
from tohum.tokenizing.tokenizer import Tokenizer

SAMPLE_TOKENS = 200_000
MARKS = str.maketrans({" ": "␣", "\n": "⏎", "\t": "⇥", "\r": "␍"})


def inspect(data: DataFolder, *, windows: int, max_length: int) -> dict[str, Any]:
    """Facts of every source, `windows` windows of each and what may surprise: {"ok", "problems", …}."""
    problems = surprises(data, max_length)
    return {
        "ok": not problems, "problems": problems, "fingerprint": data.fingerprint, "dtype": data.index.dtype,
        "tokenizer": {"kind": data.index.tokenizer.kind, "vocab_size": data.index.tokenizer.vocab_size},
        "train_tokens": data.train_tokens, "val_tokens": data.val_tokens,
        "sources": [facts(data, source) for source in range(len(data.sources))],
        "windows": [window for source in range(len(data.sources))
                    for window in some_windows(data, source, windows, max_length)],
    }


def facts(data: DataFolder, source: int) -> dict[str, Any]:
    """One line of the table of sources."""
    entry = data.sources[source]
    tokens = entry.train.tokens + entry.val.tokens
    return {"name": entry.name, "share": entry.share / data.index.period, "documents": entry.documents,
            "train_tokens": entry.train.tokens, "val_tokens": entry.val.tokens,
            "bytes_per_token": (entry.train.text_bytes + entry.val.text_bytes) / tokens,
            "split_by": entry.split_by, "copies_left_out": entry.copies_left_out}


def surprises(data: DataFolder, max_length: int) -> list[str]:
    """What is not wrong but may be unwanted."""
    problems = []
    if not data.val_tokens:
        problems.append("no validation tokens: training cannot say how well it does on unseen text")
    for source, entry in enumerate(data.sources):
        if entry.train.tokens <= max_length:
            problems.append(f"source '{entry.name}': {entry.train.tokens:,} training tokens do not fill one "
                            f"window of {max_length:,}; it is padded")
        if entry.copies_left_out:
            problems.append(f"source '{entry.name}': {entry.copies_left_out:,} exact copies of documents left out")
        if unknown := unknown_fraction(data, source):
            problems.append(f"source '{entry.name}': {unknown:.1%} of the tokens are unknown to the tokenizer")
    return problems


def unknown_fraction(data: DataFolder, source: int) -> float:
    """Share of [UNK] in the first training tokens; 0 for tokenizers that know everything."""
    if data.tokenizer.unk_id is None:
        return 0.0
    return float(np.mean(data.tokens(source, "train")[:SAMPLE_TOKENS] == data.tokenizer.unk_id))


def some_windows(data: DataFolder, source: int, count: int, max_length: int,
                 split: Side = "train") -> list[dict[str, Any]]:
    """The first window, and the ones in which evenly chosen documents begin."""
    starts = data.document_starts(source, split)
    windows = Windows(data.tokens(source, split), max_length=max_length, stride=max_length)
    documents = np.unique(np.arange(count) * len(starts) // count)
    numbers = np.unique(np.minimum(starts[documents] // max_length, windows.count - 1))
    rows = windows.rows(numbers)
    found = []
    for number, inputs, targets in zip(numbers.tolist(), rows["inputs"], rows["targets"], strict=True):
        length = int((targets != IGNORED).sum())
        first = number * max_length
        begins = starts[(starts >= first) & (starts < first + length + 1)] - first
        found.append({"source": data.sources[source].name, "split": split, "window": number,
                      "windows": windows.count,
                      "inputs": pieces(data.tokenizer, inputs[:length].tolist()),
                      "targets": pieces(data.tokenizer, targets[:length].tolist()),
                      "documents_begin_at": begins.tolist()})
    return found


def pieces(tokenizer: Tokenizer, ids: Sequence[int]) -> list[str]:
    """Token texts with blanks made visible; special tokens by their role."""
    roles = {tokenizer.pad_id: "‹pad›", tokenizer.unk_id: "‹unk›", tokenizer.bos_id: "‹bos›",
             tokenizer.eos_id: "‹eos›"}
    return [roles.get(token) or tokenizer.token_bytes(token).decode("utf-8", "replace").translate(MARKS)
            for token in ids]


def as_text(report: dict[str, Any], folder: str) -> str:
    """The report as lines for a terminal."""
    tokenizer = report["tokenizer"]
    lines = [f"{folder}: {report['train_tokens']:,} training and {report['val_tokens']:,} validation tokens "
             f"({report['dtype']}), tokenizer {tokenizer['kind']} of {tokenizer['vocab_size']:,}",
             f"fingerprint {report['fingerprint']}", "", *table(report["sources"])]
    for window in report["windows"]:
        lines += ["", *window_lines(window)]
    if report["problems"]:
        lines += ["", *(f"note: {problem}" for problem in report["problems"])]
    return "\n".join(lines)


def table(sources: Sequence[dict[str, Any]]) -> list[str]:
    """One row per source under a header."""
    head = ("source", "share", "documents", "train tokens", "val tokens", "bytes/token", "split by")
    rows = [(source["name"], f"{source['share']:.1%}", f"{source['documents']:,}",
             f"{source['train_tokens']:,}", f"{source['val_tokens']:,}", f"{source['bytes_per_token']:.2f}",
             source["split_by"]) for source in sources]
    widths = [max(len(row[column]) for row in (head, *rows)) for column in range(len(head))]
    return ["  ".join(cell.ljust(width) if column in (0, len(head) - 1) else cell.rjust(width)
                      for column, (cell, width) in enumerate(zip(row, widths, strict=True))).rstrip()
            for row in (head, *rows)]


def window_lines(window: dict[str, Any]) -> list[str]:
    """Inputs above targets, `‖` where a document begins, then the first steps: what is read -> what comes next."""
    begins = set(window["documents_begin_at"])
    lines = [f"window {window['window']:,} of {window['windows']:,} ({window['source']}, {window['split']})"]
    for name, offset in (("inputs", 0), ("targets", 1)):
        cells = ["‖ " * (place + offset in begins) + piece for place, piece in enumerate(window[name])]
        lines.append(f"  {name:<8} {' '.join(cells)}")
    for length in range(1, min(4, len(window["inputs"])) + 1):
        read = " ".join(window["inputs"][:length])
        lines.append(f"    {read} → {window['targets'][length - 1]}")
    return lines
