"""data_sampling.mixture: integer shares, and a schedule that keeps them in every prefix."""

from collections import Counter
from fractions import Fraction

import numpy as np
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from tohum.data_sampling.mixture import LONGEST_PERIOD, Mixture, integer_shares
from tohum.errors import ConfigError

SHARES = st.lists(st.integers(1, 40), min_size=1, max_size=8)


@settings(max_examples=60, deadline=None)
@given(SHARES)
@example([1, 39, 1, 1])
@example([1] * 8)
@example([1, 2, 3, 4, 5, 6, 7, 40])
def test_counts_of_every_prefix_are_within_one_and_of_any_stretch_within_two(shares):
    mixture, period = Mixture(shares), sum(shares)
    sources, samples = mixture.at(np.arange(2 * period + 7))
    seen: Counter[int] = Counter()
    errors = []
    for n, (source, sample) in enumerate(zip(sources.tolist(), samples.tolist(), strict=True)):
        assert sample == seen[source]  # the k-th sample of its source
        assert [mixture.count_before(n, i) for i in range(len(shares))] == [seen[i] for i in range(len(shares))]
        seen[source] += 1
        errors.append([seen[i] - Fraction((n + 1) * share, period) for i, share in enumerate(shares)])
    assert all(-1 < error < 1 for row in errors for error in row)
    for i in range(len(shares)):
        of_source = [Fraction(0), *(row[i] for row in errors)]
        assert max(of_source) - min(of_source) < 2


def test_a_single_number_is_answered_without_the_ones_before():
    mixture = Mixture([5, 3, 2])
    sources, samples = mixture.at(np.array([10**15 + 3]))
    wanted_sources, wanted_samples = mixture.at(np.arange(10))
    assert sources[0] == wanted_sources[3]
    assert samples[0] == wanted_samples[3] + 10**14 * [5, 3, 2][sources[0]]
    assert mixture.count_before(10**15, 1) == 3 * 10**14


def test_the_longest_period_keeps_the_bound():
    shares = integer_shares([0.7, 0.2, 0.0999, 0.0001, np.pi])
    mixture = Mixture(shares)
    sources, _ = mixture.at(np.arange(LONGEST_PERIOD))
    n = np.arange(1, LONGEST_PERIOD + 1)
    for source, share in enumerate(shares):
        error = np.cumsum(sources == source) * mixture.period - n * share
        assert np.abs(error).max() < mixture.period


def test_simple_weights_stay_as_they_are_and_others_are_rounded():
    assert integer_shares([2, 1]) == [2, 1]
    assert integer_shares([0.5, 0.25]) == [2, 1]
    assert integer_shares([7]) == [1]
    assert integer_shares([1_000_003, 999_983]) == [32768, 32768]
    shares = integer_shares([10**9, 10**9, 3])
    assert (sum(shares), shares[2]) == (LONGEST_PERIOD, 1)
    assert integer_shares([0.1] * 10) == [1] * 10


@given(st.lists(st.floats(1e-6, 1e12), min_size=1, max_size=20))
def test_integer_shares_are_positive_fit_the_period_and_are_close(weights):
    shares = integer_shares(weights)
    assert min(shares) >= 1
    assert sum(shares) <= LONGEST_PERIOD
    for share, weight in zip(shares, weights, strict=True):
        assert abs(share / sum(shares) - weight / sum(weights)) <= len(weights) / LONGEST_PERIOD


def test_more_sources_than_the_period_holds_are_refused():
    with pytest.raises(ConfigError, match="70,000 sources"):
        integer_shares([1] * 70_000)
