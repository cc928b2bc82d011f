"""The fastest exact encoder for large amounts of text: gigatoken for byte-level BPE, else the engine itself.

gigatoken (the `data` extra) finds the words of a text with SIMD instructions and remembers what they became; it is
several times as fast as `tokenizers` and gives the same ids. That is not believed: a vocabulary is given to it only if
it is of the kind that it is exact for, and if a text of many scripts gets the same ids from both.
"""

import json
from collections.abc import Callable, Iterable, Sequence
from itertools import chain
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray
from tokenizers import Tokenizer as Engine

from tohum.tokenizing.patterns import PATTERNS

WORTH_CHARACTERS = 4_000_000  # the other encoder takes a second for them, this one half a second to be loaded
BATCH, FAST_BATCH = 2**19, 2**21  # characters at once; `tokenizers` needs some hundred bytes for each
ANEW_CHARACTERS = 2**30  # what it remembers grows with the text (by 0.1 GB), so it begins anew after so much


class Ragged(NamedTuple):
    """The ids of several texts in one array: threads that hand Python a thousand small ones wait for each other."""

    ids: NDArray[np.uint32]  # (N,) of all texts, one after the other
    lengths: NDArray[np.int64]  # (texts,)


Encode = Callable[[Sequence[str]], Ragged]


class CorpusEncoder(NamedTuple):
    """Texts -> ids of each, and how many characters it is to be given at once: they bound its memory."""

    encode: Encode
    batch_characters: int


PROBE = ("The don't WE'LL it's  two   spaces\n\n\tand a tab \r\n", "Işık ığdır'da İstanbul'un ÇŞĞÖÜ çşğöü 1923'te",
         "数学 かな 한국어 العربية עברית हिन्दी ไทย Ελλάδα Қазақ", "def f(x): return x**2  # 3.14159 <|endoftext|> {}[]",
         "e\u0301 \u00a0\u2009\u200b\ufeff \U0001f600\U0001f468\u200d\U0001f469 ½ Ⅷ ١٢٣ 12345678 x1y2", "", " ", "\n")


def fast_encoder(engine: Engine) -> Encode | None:
    """Texts -> ids of each, on all cores, with special tokens spelled in a text as ordinary text.

    None where gigatoken is absent or may differ from the engine.
    """
    config = exact_config(engine)
    if config is None:
        return None
    try:
        from gigatoken import Tokenizer
    except ImportError:
        return None
    text = json.dumps(config)
    try:
        encode = Forgetful(lambda: as_arrays(Tokenizer.from_json(text).encode_batch))
        ours = as_ragged(found.ids for found in engine.encode_batch_fast(list(PROBE), add_special_tokens=False))
        same = all(map(np.array_equal, encode(PROBE), ours))
    except (KeyboardInterrupt, SystemExit):
        raise
    except BaseException:  # Rust's panics are no Exception
        return None
    return encode if same else None


class Forgetful:
    """An encoder that is made anew after ANEW_CHARACTERS."""

    def __init__(self, make: Callable[[], Encode]):
        self._make, self._encode, self._left = make, make(), ANEW_CHARACTERS

    def __call__(self, texts: Sequence[str]) -> Ragged:
        if self._left <= 0:
            self._encode, self._left = self._make(), ANEW_CHARACTERS
        self._left -= sum(map(len, texts))
        return self._encode(texts)


def exact_config(engine: Engine) -> dict[str, Any] | None:
    """tokenizer.json for text alone, if the vocabulary is byte-level BPE and nothing else touches a text."""
    config = json.loads(engine.to_str())
    whole = config.get("pre_tokenizer") or {}
    steps = [step for step in whole.get("pretokenizers", [whole]) if step]
    plain = config["model"]["type"] == "BPE" and not config.get("normalizer")
    if not plain or not steps or steps[-1]["type"] != "ByteLevel" or not all(
            token["special"] for token in config["added_tokens"]):
        return None
    if [step.get("pattern") for step in steps] == [{"Regex": PATTERNS["gpt-2"]}, None]:  # as the library knows it
        whole = steps[-1] | {"use_regex": True}
    return config | {"added_tokens": [], "post_processor": None, "pre_tokenizer": whole}


def as_ragged(rows: Iterable[list[int]]) -> Ragged:
    """Lists of ids, put together."""
    rows = list(rows)
    lengths = np.fromiter(map(len, rows), np.int64, len(rows))
    return Ragged(np.fromiter(chain.from_iterable(rows), np.uint32, int(lengths.sum())), lengths)


def as_arrays(encode_rows: Callable[..., Any]) -> Encode:
    """gigatoken's ragged array, taken apart without a Python number per token."""
    from awkward import flatten, num

    def encode(texts: Sequence[str]) -> Ragged:
        if not texts:
            return as_ragged([])
        rows = encode_rows(list(texts))
        return Ragged(np.asarray(flatten(rows), np.uint32), np.asarray(num(rows), np.int64))

    return encode
