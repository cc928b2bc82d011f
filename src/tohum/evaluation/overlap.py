"""Overlap: a sample and the training text -> the longest run that they share, the share of known words.

A model that learned by heart shows it here: long shared runs are quotations, not inventions.
"""

import re

import numpy as np

BLOCK_CHARACTERS = 2**20  # of training text looked at in one go
TABLE_BITS = 20
BASE = 0x9E3779B97F4A7C15  # odd, so that it has an inverse modulo 2^64
INVERSE = pow(BASE, -1, 2**64)
WORD = re.compile(r"[^\W\d_]+(?:\u0307[^\W\d_]*)*")  # letters; i with a combining dot is one of them
TURKISH_LOWER = str.maketrans({"I": "ı", "İ": "i"})


def longest_shared_run(sample: str, training_text: str) -> str:
    """The longest piece of `sample` that stands in `training_text` letter by letter ("" if there is none).

    The text is walked once in blocks; each is asked for a run longer than the best so far, by hashes of all
    its windows (Karp and Rabin 1987), and every hit is compared in full.
    """
    best, sample_sums = "", prefix_sums(code_points(sample))
    for begin in range(0, len(training_text), BLOCK_CHARACTERS):
        block = training_text[begin : begin + BLOCK_CHARACTERS + len(sample)]
        block_sums = prefix_sums(code_points(block))
        low, high = len(best), min(len(sample), len(block))  # the answer lies between, both included
        step = 1  # one more at first, as most blocks have nothing longer; then twice as many, then bisect
        while low < high:
            length = min(low + step, high)
            found = shared_of_length(sample, block, length, (sample_sums, block_sums))
            low, high = (length, high) if found else (low, length - 1)
            best = found or best
            step = 2 * step if found else max(1, (high - low + 1) // 2)
    return best


def code_points(text: str) -> np.ndarray:
    """One uint64 per character, never zero."""
    raw = text.encode("utf-32-le", errors="surrogatepass")
    return np.frombuffer(raw, np.uint32).astype(np.uint64) + np.uint64(1)


def powers(base: int, count: int) -> np.ndarray:
    """base^0, base^1, … modulo 2^64."""
    steps = np.full(count, base, np.uint64)
    steps[:1] = 1
    return np.cumprod(steps, dtype=np.uint64)


def prefix_sums(letters: np.ndarray) -> np.ndarray:
    """sums[i] = letters[0] * BASE^0 + … + letters[i - 1] * BASE^(i - 1) modulo 2^64; (N,) -> (N + 1,)."""
    terms = letters * powers(BASE, len(letters))
    return np.append(np.zeros(1, np.uint64), np.cumsum(terms, dtype=np.uint64))


def window_hashes(sums: np.ndarray, length: int) -> np.ndarray:
    """The hash of every window of `length` letters: equal windows have equal hashes wherever they stand."""
    windows = sums[length:] - sums[:-length]
    return windows * powers(INVERSE, len(windows))


def shared_of_length(sample: str, block: str, length: int, sums: tuple[np.ndarray, np.ndarray]) -> str:
    """Some piece of `length` characters that both texts hold, or ""; `sums` are their prefix sums."""
    shift = np.uint64(64 - TABLE_BITS)  # the high bits depend on all letters
    wanted = window_hashes(sums[0], length) >> shift
    table = np.zeros(1 << TABLE_BITS, bool)
    table[wanted] = True
    pieces = {sample[start : start + length] for start in range(len(sample) - length + 1)}
    for start in np.flatnonzero(table[window_hashes(sums[1], length) >> shift]).tolist():
        piece = block[start : start + length]
        if piece in pieces:
            return piece
    return ""


def known_word_fraction(sample: str, training_text: str) -> float:
    """Share (0 to 1) of the sample's words that occur in the training text; 0 for a sample without words.

    A word is a run of letters of any script. Case is ignored by the rules of English or by those of Turkish
    (I-ı, İ-i), whichever makes the word known. A word cut off at the sample's end counts like any other.
    """
    words = WORD.findall(sample)
    known, known_turkish = set(), set()
    for word in set(WORD.findall(training_text)):
        known.add(word.casefold())
        known_turkish.add(word.translate(TURKISH_LOWER).lower())
    hits = sum(word.casefold() in known or word.translate(TURKISH_LOWER).lower() in known_turkish
               for word in words)
    return hits / len(words) if words else 0.0
