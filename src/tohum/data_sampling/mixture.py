"""Shares of sources -> which source gives sample n, and which of its samples that is, for any n alone.

In every prefix the count of each source is within one sample of its share, so in any stretch within two.
Sample j of a source with share s of a period P may not come before n = floor(j P / s) and must have come by
ceil((j + 1) P / s); earliest deadline first meets all of them whenever the shares add up to the period
(Baruah et al., "Proportionate progress", Algorithmica 15, 1996; the bound goes back to Tijdeman's chairman
assignment, 1980). The schedule repeats after one period: a table of at most 65,536 entries is all there is.
"""

import heapq
import math
from collections.abc import Sequence
from fractions import Fraction

import numpy as np
from numpy.typing import NDArray

from tohum.errors import ConfigError

LONGEST_PERIOD = 65_536


def integer_shares(weights: Sequence[float]) -> list[int]:
    """Weights -> whole numbers in the same ratio that add up to at most 65,536; none becomes zero.

    Exact where that is possible ([2, 1] stays [2, 1]); else the period is 65,536 and the largest remainders
    are rounded up. Raises ConfigError.
    """
    if len(weights) > LONGEST_PERIOD:
        raise ConfigError(f"{len(weights):,} sources; at most {LONGEST_PERIOD:,} can be mixed; "
                          "put them into folders")
    fractions = [Fraction(str(weight)) for weight in weights]
    scale = math.lcm(*(fraction.denominator for fraction in fractions))
    whole = [int(fraction * scale) for fraction in fractions]
    whole = [number // math.gcd(*whole) for number in whole]
    if sum(whole) <= LONGEST_PERIOD:
        return whole
    quotas = [fraction / sum(fractions) * LONGEST_PERIOD for fraction in fractions]
    shares = [max(1, int(quota)) for quota in quotas]
    for index in sorted(range(len(shares)), key=lambda i: int(quotas[i]) - quotas[i]):
        shares[index] += sum(shares) < LONGEST_PERIOD
    while sum(shares) > LONGEST_PERIOD:  # sources raised to one sample take it from the largest
        shares[shares.index(max(shares))] -= 1
    return shares


def earliest_deadline_schedule(shares: Sequence[int]) -> NDArray[np.int64]:
    """The source of every sample of one period, (P,)."""
    period = sum(shares)
    released: list[list[int]] = [[] for _ in range(period + 1)]
    released[0] = list(range(len(shares)))
    taken = [0] * len(shares)
    ready: list[tuple[int, int]] = []
    schedule = np.empty(period, np.int64)
    for n in range(period):
        for source in released[n]:
            deadline = -(-(taken[source] + 1) * period // shares[source])
            heapq.heappush(ready, (deadline, source))
        _, source = heapq.heappop(ready)
        schedule[n] = source
        taken[source] += 1
        if taken[source] < shares[source]:
            released[max(n + 1, taken[source] * period // shares[source])].append(source)
    return schedule


class Mixture:
    """The endless sequence of sources; a pure function of the shares."""

    def __init__(self, shares: Sequence[int]):
        self.shares = list(shares)
        self.period = sum(shares)
        self._schedule = earliest_deadline_schedule(shares)
        self._places = [np.flatnonzero(self._schedule == source) for source in range(len(shares))]
        self._rank = np.empty(self.period, np.int64)  # how many samples of the same source came before
        for places in self._places:
            self._rank[places] = np.arange(len(places))

    def at(self, numbers: NDArray[np.int64]) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
        """Sample numbers -> (source of each, which sample of that source it is, from 0)."""
        rounds, place = np.divmod(numbers, self.period)
        sources = self._schedule[place]
        return sources, rounds * np.asarray(self.shares)[sources] + self._rank[place]

    def count_before(self, number: int, source: int) -> int:
        """How many of the samples 0..number-1 come from `source`."""
        rounds, place = divmod(number, self.period)
        return rounds * self.shares[source] + int(np.searchsorted(self._places[source], place))
