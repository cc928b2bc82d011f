"""Bootstrap intervals: as wide as theory says, narrower in pairs, the same every time."""

import numpy as np
import pytest

from tohum.errors import DataError
from tohum.evaluation import bootstrap
from tohum.evaluation.bootstrap import mean_estimate, paired_difference, ratio_change


def normal(count: int, seed: int) -> np.ndarray:
    return np.random.default_rng(seed).normal(size=count)


def test_interval_of_a_mean_is_that_of_the_normal_law_for_a_large_sample():
    values = normal(2000, 1) * 3 + 10
    found = mean_estimate(values.tolist())
    half = 1.96 * values.std() / np.sqrt(2000)
    assert found.value == pytest.approx(values.mean())
    assert found.high - found.value == pytest.approx(half, rel=0.06)
    assert found.value - found.low == pytest.approx(half, rel=0.06)


def test_interval_holds_the_truth_in_about_95_of_100_samples(monkeypatch):
    monkeypatch.setattr(bootstrap, "RESAMPLES", 1000)
    held = sum(found.low <= 0 <= found.high
               for found in (mean_estimate(normal(40, seed).tolist()) for seed in range(300)))
    assert 0.90 <= held / 300 <= 0.975


def test_paired_interval_is_narrow_where_both_find_the_same_rows_hard():
    before = normal(100, 2) * 10
    after = before + 0.5 + 0.1 * normal(100, 3)
    found = paired_difference(before.tolist(), after.tolist())
    assert found.value == pytest.approx(0.5, abs=0.05)
    assert found.low > 0.4
    assert found.high < 0.6
    assert paired_difference(after.tolist(), before.tolist()).value == pytest.approx(-found.value)


def test_ratio_change_pairs_equal_blocks_and_draws_others_apart():
    sizes = np.full(200, 100.0)
    hard = np.abs(normal(200, 4)) * 50 + 20
    before, after = np.stack([hard, sizes], 1), np.stack([hard * 1.03, sizes], 1)
    paired = ratio_change(before, after)
    assert paired.value == pytest.approx(0.03)
    assert paired.high - paired.low < 1e-9  # every block rose by 3 %
    apart = ratio_change(before, after[:-1])
    assert apart.low < 0 < apart.high


def test_intervals_do_not_depend_on_what_is_drawn_at_once(monkeypatch):
    values = normal(50, 5).tolist()
    first = mean_estimate(values)
    assert mean_estimate(values) == first
    assert mean_estimate(values, seed=1) != first
    monkeypatch.setattr(bootstrap, "DRAWN_AT_ONCE", 1000)
    assert mean_estimate(values) == first


def test_intervals_of_one_row_are_the_row_and_of_none_an_error():
    assert vars(mean_estimate([3.0])) == {"value": 3.0, "low": 3.0, "high": 3.0}
    with pytest.raises(DataError, match="there is none"):
        mean_estimate([])
    with pytest.raises(DataError, match="2 rows before and 1 after"):
        paired_difference([1.0, 2.0], [1.0])
    with pytest.raises(DataError, match="0 blocks before and 1 after"):
        ratio_change(np.zeros((0, 2)), np.ones((1, 2)))
