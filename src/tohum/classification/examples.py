"""Labelled rows -> examples: the ids of a text, and the number of its class as the target of the last one."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from tohum.classification.rows import LabelledRow
from tohum.data_sampling.windows import IGNORED
from tohum.errors import DataError
from tohum.finetuning.config import Overlong
from tohum.finetuning.examples import Example, ExampleSet
from tohum.tokenizing.tokenizer import Tokenizer

DEFAULT_MAX_LENGTH = 256  # tokens; what a text is about is said in its first sentences
QUANTILES = (50, 90, 99, 100)


@dataclass(frozen=True, kw_only=True)
class EncodedRows:
    """One side of the split."""

    examples: ExampleSet
    rows: tuple[LabelledRow, ...]  # those that were kept, in the order of the examples
    cut: int  # rows of which only the beginning is read
    dropped: int
    quantiles: dict[str, int]  # of the lengths in tokens before cutting

    def __len__(self) -> int:
        return len(self.rows)


def text_ids(tokenizer: Tokenizer, text: str) -> list[int]:
    """At most one BOS, and the text: the same for training, testing and `tohum classify`."""
    return tokenizer.prompt_ids(text)


def encode_rows(rows: Sequence[LabelledRow], labels: Sequence[str], tokenizer: Tokenizer, *, max_length: int,
                overlong: Overlong) -> EncodedRows:
    """Raises DataError for a text that is too long, where that is asked for, and for one without any token."""
    numbers = {label: number for number, label in enumerate(labels)}
    examples, kept, lengths = [], [], []
    cut = 0
    for row in rows:
        whole = text_ids(tokenizer, row.text)
        lengths.append(len(whole))
        if not whole:
            raise DataError(f"{row.place}: the tokenizer finds no token in this text: {row.text[:40]!r}")
        if len(whole) > max_length:
            if overlong == "error":
                raise DataError(f"{row.place}: {len(whole):,} tokens, but data.max_length is {max_length:,}\n"
                                "raise it, or give --overlong truncate or --overlong drop")
            if overlong == "drop":
                continue
            cut += 1
        ids = whole[:max_length]
        examples.append(Example(ids=ids, targets=[IGNORED] * (len(ids) - 1) + [numbers[row.label]]))
        kept.append(row)
    quantiles = {f"p{q}" if q < 100 else "max": int(np.percentile(lengths, q, method="higher"))
                 for q in QUANTILES} if lengths else {}
    return EncodedRows(examples=ExampleSet(examples), rows=tuple(kept), cut=cut, dropped=len(rows) - len(kept),
                       quantiles=quantiles)
