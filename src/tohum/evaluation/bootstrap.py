"""Bootstrap: a sample -> its mean, or how a ratio of two sums changed, with the 95 % interval.

The percentile bootstrap (Efron 1979): the sample is drawn again and again, with replacement, from itself. Pairs (two
models on the same rows) are drawn together, so what both find hard does not widen the interval of their difference.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from tohum.errors import DataError

RESAMPLES = 10_000
DRAWN_AT_ONCE = 2**22  # numbers in memory
SEED = 0  # of this purpose alone: the same scores always have the same interval

Values = NDArray[np.float64]


@dataclass(frozen=True, kw_only=True)
class Estimate:
    """A figure and its 95 % interval."""

    value: float
    low: float
    high: float


def resample(count: int, statistic: Callable[[NDArray[np.int64]], Values], *, seed: int) -> Values:
    """(RESAMPLES,) values of `statistic`, which maps numbers of drawn rows (R, count) to (R,)."""
    generator, found = np.random.default_rng(seed), []
    together = max(1, DRAWN_AT_ONCE // count)
    for start in range(0, RESAMPLES, together):
        found.append(statistic(generator.integers(count, size=(min(together, RESAMPLES - start), count))))
    return np.concatenate(found)


def estimate(value: float, drawn: Values) -> Estimate:
    """A figure and the middle 95 % of its resamples."""
    low, high = np.percentile(drawn, (2.5, 97.5))
    return Estimate(value=float(value), low=float(low), high=float(high))


def mean_estimate(values: Sequence[float], *, seed: int = SEED) -> Estimate:
    """The mean of a sample. Raises DataError for an empty one."""
    numbers = np.asarray(values, np.float64)
    if not len(numbers):
        raise DataError("a mean needs one row at least; there is none")
    return estimate(numbers.mean(), resample(len(numbers), lambda rows: numbers[rows].mean(axis=1), seed=seed))


def paired_difference(before: Sequence[float], after: Sequence[float], *, seed: int = SEED) -> Estimate:
    """The mean of after - before, row by row. Raises DataError for samples that are empty or of two lengths."""
    if len(before) != len(after):
        raise DataError(f"{len(before):,} rows before and {len(after):,} after; pairs need as many of each")
    return mean_estimate([new - old for old, new in zip(before, after, strict=True)], seed=seed)


def ratio_change(before: Values, after: Values, *, seed: int = SEED) -> Estimate:
    """Change of a ratio of sums, as a fraction: 0.02 where it rose by 2 %.

    before, after (n, 2): a numerator and a denominator for each block. Where the denominators are the same, block by
    block, the blocks are those of one text and drawn in pairs; else each side is drawn by itself.
    Raises DataError where a side has no block.
    """
    if not len(before) or not len(after):
        raise DataError(f"{len(before)} blocks before and {len(after)} after; a change needs one of each at least")
    value = ratio(after) / ratio(before) - 1
    if before.shape == after.shape and np.array_equal(before[:, 1], after[:, 1]):
        drawn = resample(len(before), lambda rows: ratio(after[rows]) / ratio(before[rows]) - 1, seed=seed)
    else:
        old, new = (resample(len(side), lambda rows, side=side: ratio(side[rows]), seed=seed + number)
                    for number, side in enumerate((before, after)))
        drawn = new / old - 1
    return estimate(float(value), drawn)


def ratio(blocks: Values) -> Values:
    """(…, n, 2) -> (…): sum of the numerators over that of the denominators."""
    sums = blocks.sum(axis=-2)
    return sums[..., 0] / sums[..., 1]
