"""Tokenizers side by side on one text: bytes per token, speed, vocabulary that is never used."""

import time
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from tohum.tokenizing.tokenizer import Tokenizer

REPEATS = 3


@dataclass(frozen=True, kw_only=True)
class Row:
    """One tokenizer on the text."""

    name: str
    kind: str
    vocab_size: int
    tokens: int
    bytes_per_token: float
    megabytes_per_second: float  # of text, encoded on all cores
    unused: int  # entries that this text never needs
    unknown_tokens: int
    exact: bool  # decoding gives the text again


def compare(tokenizers: Sequence[tuple[str, Tokenizer]], texts: Sequence[str]) -> list[Row]:
    """One row for each named tokenizer."""
    return [measure(name, tokenizer, texts) for name, tokenizer in tokenizers]


def measure(name: str, tokenizer: Tokenizer, texts: Sequence[str]) -> Row:
    """Encode all texts several times; the fastest counts."""
    size = sum(len(text.encode("utf-8")) for text in texts)
    encoded = tokenizer.encode_batch(texts)
    fastest = min(encoding_seconds(tokenizer, texts) for _ in range(REPEATS))
    counts = np.bincount(np.concatenate([np.array(ids, np.int64) for ids in encoded]), minlength=tokenizer.vocab_size)
    entries = np.ones(tokenizer.vocab_size, bool)
    entries[list(tokenizer.special_ids)] = False
    tokens = int(counts.sum())
    exact = all(tokenizer.decode(ids) == text for ids, text in zip(encoded, texts, strict=True))
    return Row(name=name, kind=tokenizer.kind, vocab_size=tokenizer.vocab_size, tokens=tokens,
               bytes_per_token=size / max(1, tokens), megabytes_per_second=size / fastest / 1e6,
               unused=int((entries & (counts == 0)).sum()), exact=exact,
               unknown_tokens=int(counts[tokenizer.unk_id]) if tokenizer.unk_id is not None else 0)


def encoding_seconds(tokenizer: Tokenizer, texts: Sequence[str]) -> float:
    """Time to encode all texts once."""
    started = time.perf_counter()
    tokenizer.encode_batch(texts)
    return time.perf_counter() - started
