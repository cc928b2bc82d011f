"""Learning BPE merges on all cores: texts -> words and how often each occurs -> merges. In C, from some megabytes on.

`tokenizers` learns the same merges (a test holds the two against each other); there, cutting text into words by a
regular expression takes most of the time, and its counts of pairs end at 2^31.
"""

import ctypes
import functools
from collections import deque
from collections.abc import Iterable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor, wait
from contextlib import contextmanager
from itertools import accumulate
from queue import SimpleQueue
from typing import Any

import numpy as np
from numpy.typing import NDArray
from tokenizers import Regex, pre_tokenizers

from tohum.errors import DataError
from tohum.kernels.build import library
from tohum.machine import cores
from tohum.tokenizing.alphabet import BYTES

WORTH_CHARACTERS = 4_000_000  # below, `tokenizers` is done in a second or two
BATCH_CHARACTERS = 1_000_000
CLASSES = {1: r"\p{L}", 2: r"\p{N}", 4: r"\s"}  # as in words.c
ASSIGNED = 0x40000  # behind it Unicode has neither letters nor numbers nor spaces
PATTERN_NUMBERS = {"gpt-2": 0, "qwen2": 1, "llama-bpe": 2}
ALPHABET = sorted(BYTES)  # the order in which the library numbers its first 256 entries
Pointer, Number = ctypes.c_void_p, ctypes.c_int64


def can_learn(pattern: str) -> bool:
    """Whether the compiled library is there and knows the pattern."""
    return pattern in PATTERN_NUMBERS and library("learning merges") is not None


def learn_merges(texts: Iterable[str], *, pattern: str, vocab_size: int,
                 specials: int) -> tuple[list[str], list[tuple[str, str]]]:
    """Entries of a vocabulary behind its `specials` (first the 256 bytes) and merges, in GPT-2's alphabet.

    Raises DataError where memory is short. Needs `can_learn(pattern)`.
    """
    found = library("learning merges")
    assert found is not None
    classes = character_classes()
    with word_tables(found, classes, pattern, max(1, cores())) as tables, ThreadPoolExecutor(len(tables)) as pool:
        count_words(found, pool, tables, texts)
        for other in tables[1:]:
            refuse_failure(found.tohum_words_join(tables[0], other))
        return spelled(merge(found, pool, tables[0], vocab_size, specials), specials)


@functools.cache
def character_classes() -> NDArray[Any]:
    """(0x110000,) uint8: what the library's regex engine takes every character for."""
    found = np.zeros(0x110000, dtype=np.uint8)
    for start in range(0, ASSIGNED, 4096):  # of a longer text it counts characters for ever
        codes = [code for code in range(start, start + 4096) if not 0xD800 <= code < 0xE000]
        text, numbers = "".join(map(chr, codes)), np.array(codes)
        for bit, pattern in CLASSES.items():
            matches = pre_tokenizers.Split(Regex(f"{pattern}+"), behavior="removed", invert=True)
            for _, (begin, end) in matches.pre_tokenize_str(text):
                found[numbers[begin:end]] |= bit
    return found


@contextmanager
def word_tables(found: ctypes.CDLL, classes: NDArray[Any], pattern: str,
                number: int) -> Iterator[list[ctypes.c_void_p]]:
    """Empty tables of words, one per thread."""
    found.tohum_words.restype = Pointer
    made = [found.tohum_words(Pointer(classes.ctypes.data), Number(PATTERN_NUMBERS[pattern])) for _ in range(number)]
    tables = [Pointer(address) for address in made if address]
    try:
        refuse_failure(len(tables) < number)
        yield tables
    finally:
        for table in tables:
            found.tohum_words_free(table)


def count_words(found: ctypes.CDLL, pool: ThreadPoolExecutor, tables: list[ctypes.c_void_p],
                texts: Iterable[str]) -> None:
    """Every text once, on all threads of the pool; a few batches are under way at a time."""
    free: SimpleQueue[ctypes.c_void_p] = SimpleQueue()
    for table in tables:
        free.put(table)

    def count(batch: list[str]) -> None:
        parts = [text.encode("utf-8") for text in batch]
        ends = np.fromiter(accumulate(map(len, parts)), dtype=np.int64, count=len(parts))
        table = free.get()
        try:
            refuse_failure(found.tohum_words_count(table, b"".join(parts), Pointer(ends.ctypes.data),
                                                   Number(len(parts))))
        finally:
            free.put(table)

    pending: deque[Future[None]] = deque()
    for batch in batches(texts):
        pending.append(pool.submit(count, batch))
        if len(pending) > 2 * len(tables):
            pending.popleft().result()
    for future in pending:
        future.result()


def batches(texts: Iterable[str]) -> Iterator[list[str]]:
    """Texts in groups of about BATCH_CHARACTERS."""
    batch: list[str] = []
    size = 0
    for text in texts:
        batch.append(text)
        size += len(text)
        if size >= BATCH_CHARACTERS:
            yield batch
            batch, size = [], 0
    if batch:
        yield batch


def merge(found: ctypes.CDLL, pool: ThreadPoolExecutor, table: ctypes.c_void_p, vocab_size: int,
          specials: int) -> NDArray[Any]:
    """(merges, 3) int32: the pair and what it becomes. In a thread of its own, so that Ctrl-C is heard."""
    byte_ids = np.empty(256, dtype=np.int32)
    for place, character in enumerate(ALPHABET):
        byte_ids[BYTES[character]] = specials + place
    merged, stop = np.empty((2 * vocab_size, 3), dtype=np.int32), ctypes.c_int32(0)
    found.tohum_merges.restype = Number
    running = pool.submit(found.tohum_merges, table, Pointer(byte_ids.ctypes.data), Number(specials + 256),
                          Number(vocab_size), Pointer(merged.ctypes.data), Number(len(merged)), ctypes.byref(stop))
    try:
        count = running.result()
    except BaseException:
        stop.value = 1
        wait([running])  # it reads and writes what this function holds
        raise
    refuse_failure(count < 0)
    return merged[:count]


def spelled(merged: NDArray[Any], specials: int) -> tuple[list[str], list[tuple[str, str]]]:
    """Ids -> strings."""
    entries, merges = list(ALPHABET), []
    for a, b, made in (merged - specials).tolist():
        merges.append((entries[a], entries[b]))
        if made == len(entries):
            entries.append(entries[a] + entries[b])
    return entries, merges


def refuse_failure(failed: int | bool) -> None:
    """Raises DataError."""
    if failed:
        raise DataError("no memory for the different words of this text; learn from less of it with --train-bytes")
