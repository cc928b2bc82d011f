"""data_sampling.order: a computed permutation is a bijection that looks like a drawn one."""

import itertools

import numpy as np
import pytest

from tohum.data_sampling.order import Permutation


def everything(size: int, key: str) -> list[int]:
    return Permutation(size, key).at(np.arange(size)).tolist()


def test_every_size_up_to_300_is_a_bijection():
    for size in range(1, 301):
        assert sorted(everything(size, "k")) == list(range(size)), size


@pytest.mark.parametrize("size", [65_535, 65_536, 65_537, 1_000_003])
def test_large_sizes_are_bijections(size):
    assert np.bincount(Permutation(size, "k").at(np.arange(size)), minlength=size).tolist() == [1] * size


@pytest.mark.parametrize("size", [2**40 + 1, 2**61 + 5])
def test_huge_sizes_stay_inside_and_do_not_collide(size):
    places = np.concatenate([np.arange(10_000), np.arange(size - 10_000, size)])
    found = Permutation(size, "k").at(places)
    assert len(set(found.tolist())) == len(places)
    assert found.min() >= 0
    assert found.max() < size
    assert abs(float(found.astype(float).mean()) / size - 0.5) < 0.02


def test_one_place_alone_gives_what_all_together_give():
    whole = everything(1000, "k")
    assert [int(Permutation(1000, "k").at(place)[0]) for place in range(0, 1000, 37)] == whole[::37]


def test_keys_give_different_orders():
    assert len({tuple(everything(50, f"key {key}")) for key in range(100)}) == 100


def test_all_orders_of_four_elements_come_about_equally_often():
    counts = dict.fromkeys(itertools.permutations(range(4)), 0)
    for key in range(4800):
        counts[tuple(everything(4, str(key)))] += 1
    chi_square = sum((count - 200) ** 2 / 200 for count in counts.values())
    assert chi_square < 60  # 23 degrees of freedom: 99.99 % of fair draws stay below 55


@pytest.mark.parametrize("size", [7, 100])
def test_every_element_comes_to_every_place_about_equally_often(size):
    keys = 50 * size
    counts = np.zeros((size, size))
    for key in range(keys):
        counts[np.arange(size), Permutation(size, str(key)).at(np.arange(size))] += 1
    chi_square = ((counts - 50) ** 2 / 50).sum()
    degrees = (size - 1) ** 2
    assert abs(chi_square - degrees) < 6 * np.sqrt(2 * degrees)


def test_neighbours_are_torn_apart():
    found = Permutation(10_000, "k").at(np.arange(10_000))
    assert np.abs(np.diff(found)).mean() == pytest.approx(10_000 / 3, rel=0.05)
    assert abs(np.corrcoef(np.arange(10_000), found)[0, 1]) < 0.05


@pytest.mark.parametrize("size", [0, -1, 2**62])
def test_impossible_sizes_are_refused(size):
    with pytest.raises(ValueError, match=f"size {size}"):
        Permutation(size, "k")
