"""data_sampling.windows, packing and stream: rows against the slow, obvious way to cut them."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tohum.data_sampling.packing import PackedRows
from tohum.data_sampling.stream import TokenStream
from tohum.data_sampling.windows import IGNORED, Windows


def stream(tokens: int, shard: int) -> TokenStream:
    ids = np.arange(100, 100 + tokens, dtype="<u2")
    return TokenStream([ids[at:at + shard] for at in range(0, tokens, shard)])


@settings(max_examples=200, deadline=None)
@given(st.integers(0, 60), st.integers(1, 9), st.integers(1, 12), st.integers(1, 70))
def test_windows_equal_plain_slicing_and_lose_no_target(tokens, max_length, stride, shard):
    source = stream(tokens, shard)
    windows = Windows(source, max_length=max_length, stride=stride)
    ids = list(range(100, 100 + tokens))
    starts = [start for start in range(0, max(0, tokens - 1), stride)
              if start == 0 or start - stride + max_length < tokens - 1]
    assert windows.count == len(starts)
    if not starts:
        return
    rows = windows.rows(np.arange(windows.count))
    seen = set()
    for start, inputs, targets in zip(starts, rows["inputs"].tolist(), rows["targets"].tolist(), strict=True):
        length = min(max_length, tokens - 1 - start)
        assert inputs[:length] == ids[start:start + length]
        assert targets == ids[start + 1:start + 1 + length] + [IGNORED] * (max_length - length)
        seen |= set(targets[:length])
    if stride <= max_length:
        assert seen == set(ids[1:])


@settings(max_examples=100, deadline=None)
@given(st.integers(2, 60), st.integers(1, 9), st.integers(1, 12), st.integers(1, 70), st.integers(1, 1000))
def test_a_later_pass_cuts_the_text_as_a_ring_that_was_turned_within_a_stride(tokens, max_length, stride, shard, number):
    windows = Windows(stream(tokens, shard), max_length=max_length, stride=stride)
    index = np.arange(windows.count)
    later = windows.rows(number * windows.count + index)
    turn = int(later["inputs"][0, 0]) - 100
    assert turn in range(stride)
    ids = np.roll(np.arange(100, 100 + tokens), -turn)
    wanted = Windows(TokenStream([ids]), max_length=max_length, stride=stride).rows(index)
    assert {name: rows.tolist() for name, rows in later.items()} == {name: rows.tolist() for name, rows in wanted.items()}
    if windows.count == 1:
        assert turn == 0


def test_passes_are_turned_evenly():
    windows = Windows(stream(1000, 300), max_length=100, stride=100)
    turns = [int(windows.rows(np.array([number * windows.count]))["inputs"][0, 0]) - 100 for number in range(10)]
    assert turns[0] == 0
    gaps = np.diff([*sorted(turns), 100])
    assert gaps.min() >= 5
    assert gaps.max() <= 20


@settings(max_examples=100, deadline=None)
@given(st.integers(1, 50), st.integers(1, 60), st.lists(st.integers(0, 49), min_size=1, max_size=20))
def test_a_stream_of_shards_reads_like_one_array(tokens, shard, places):
    source, whole = stream(tokens, shard), np.arange(100, 100 + tokens)
    wanted = np.array(places).reshape(1, -1) % tokens
    assert source.gather(wanted).tolist() == whole[wanted].tolist()
    low, high = sorted((places[0], places[-1]))
    assert source[low:high].tolist() == whole[low:high].tolist()
    assert source[low:high].dtype == source.gather(wanted).dtype == np.int64
    assert (len(source), source[-3:].tolist()) == (tokens, whole[-3:].tolist())


def next_fit_by_hand(lengths: list[int], max_length: int) -> list[list[tuple[int, int, int]]]:
    """Rows of (document, first pair, pairs), one document after the other."""
    rows: list[list[tuple[int, int, int]]] = [[]]
    for document, tokens in enumerate(lengths):
        for first in range(0, tokens - 1, max_length):
            pairs = min(max_length, tokens - 1 - first)
            if sum(piece[2] for piece in rows[-1]) + pairs > max_length:
                rows.append([])
            rows[-1].append((document, first, pairs))
    return [row for row in rows if row]


@settings(max_examples=200, deadline=None)
@given(st.lists(st.integers(1, 25), min_size=1, max_size=15), st.integers(1, 12), st.integers(1, 70))
def test_packed_rows_equal_next_fit_by_hand(lengths, max_length, shard):
    starts = np.cumsum([0, *lengths])[:-1]
    packed = PackedRows(stream(sum(lengths), shard), starts, max_length=max_length)
    wanted = next_fit_by_hand(lengths, max_length)
    assert packed.count == len(wanted)
    if not wanted:
        return
    order = np.arange(packed.count)[::-1]
    rows = packed.rows(order)
    for row, pieces in zip(order.tolist(), reversed(wanted), strict=True):
        at = packed.count - 1 - row
        inputs, targets, documents, positions = [], [], [], []
        for number, (document, first, pairs) in enumerate(pieces):
            begin = 100 + int(starts[document]) + first
            inputs += range(begin, begin + pairs)
            targets += range(begin + 1, begin + 1 + pairs)
            documents += [number] * pairs
            positions += range(pairs)
        rest = max_length - len(inputs)
        assert rows["inputs"][at].tolist() == inputs + [0] * rest
        assert rows["targets"][at].tolist() == targets + [IGNORED] * rest
        assert rows["documents"][at].tolist() == documents + [-1] * rest
        assert rows["positions"][at].tolist() == positions + [0] * rest


def test_no_packed_target_crosses_documents():
    starts = np.array([0, 3, 10])  # a b c | d e f g h i j | k l
    rows = PackedRows(stream(12, 12), starts, max_length=4).rows(np.arange(3))
    assert rows["inputs"].tolist() == [[100, 101, 0, 0], [103, 104, 105, 106], [107, 108, 110, 0]]
    assert rows["targets"].tolist() == [[101, 102, IGNORED, IGNORED], [104, 105, 106, 107], [108, 109, 111, IGNORED]]
    assert rows["documents"].tolist() == [[0, 0, -1, -1], [0, 0, 0, 0], [0, 0, 1, -1]]
    assert rows["positions"].tolist() == [[0, 1, 0, 0], [0, 1, 2, 3], [0, 1, 0, 0]]


def test_a_stream_is_not_sliced_with_steps():
    with pytest.raises(ValueError, match="step 1, not 2"):
        stream(10, 4)[::2]
