"""data_sampling.loader: the order of samples is a pure function, shared out over ranks, each window once per epoch."""

from collections import Counter

import numpy as np
import pytest
import torch

from tohum.data_sampling.batch import IGNORED, Batch
from tohum.data_sampling.loader import TrainBatches, evaluation_batches, text_batches
from tohum.data_sampling.shards import DataFolder
from tohum.errors import ConfigError, DataError

BOOK = "".join(f"{n} şu köşe yaz köşesi bu köşe kış köşesi\n" for n in range(60))
LINES = "".join(f"line {n} {'of words ' * (n % 7)}\n" for n in range(90))


@pytest.fixture
def mixed(make) -> DataFolder:
    return make({"a.txt": LINES, "b.txt": LINES[::-1]}, split="line", weights={"a": 2, "b": 1})


def batches(data: DataFolder, **settings: object) -> TrainBatches:
    return TrainBatches(data, **{"max_length": 16, "seed": 5, "rows_per_step": 8, "micro_batch": 3} | settings)


def rows(parts: list[Batch]) -> list[tuple[int, ...]]:
    return [tuple(row) for batch in parts for row in batch.inputs.tolist()]


def test_targets_are_inputs_one_token_further(make):
    data = make({"a.txt": BOOK})
    ids = data.tokens(0, "train")[:].tolist()
    starts = {tuple(ids[start:start + 16]): start for start in range(0, len(ids), 16)}
    for batch in batches(data).step(3):
        assert batch.inputs.dtype == batch.targets.dtype == torch.int64
        assert (batch.documents, batch.positions) == (None, None)
        for inputs, targets in zip(batch.inputs.tolist(), batch.targets.tolist(), strict=True):
            start = starts[tuple(inputs)]
            assert targets == ids[start + 1:start + 17]


@pytest.mark.parametrize("packing", ["concatenated", "isolated"])
def test_each_window_comes_exactly_once_per_epoch_over_all_ranks(mixed, packing):
    whole = batches(mixed, packing=packing)
    seen: list[Counter[int]] = [Counter(), Counter()]
    steps = 3 * whole.rows_per_epoch // 8
    for step in range(steps):
        for rank in range(3):
            part = batches(mixed, packing=packing, rank=rank, world_size=3)
            first = step * 8
            numbers = np.array([n for n in range(first, first + 8) if n % 3 == rank])
            for source, window in zip(*part.windows_of(numbers), strict=True):
                seen[source][int(window)] += 1
    for source, counts in enumerate(seen):
        windows = whole._sources[source].count
        epochs, rest = divmod(len(counts), windows)  # a window of a later pass has a number of its own
        assert set(counts.values()) == {1}
        assert set(range(epochs * windows)) <= set(counts)
        assert sum(number // windows == epochs for number in counts) == rest


@pytest.mark.parametrize("world_size", [2, 8, 1024])
def test_global_order_is_identical_for_any_number_of_ranks(mixed, world_size):
    per_step = 1024 if world_size == 1024 else 8
    alone = batches(mixed, rows_per_step=per_step, micro_batch=64)
    ranks = [batches(mixed, rows_per_step=per_step, micro_batch=5, rank=rank, world_size=world_size)
             for rank in range(world_size)]
    for rank in ranks:  # one set of tables serves all of them
        rank.__dict__.update(_mixture=alone._mixture, _sources=alone._sources)
    for step in (0, 1, 7):
        parts = [rows(list(rank.step(step))) for rank in ranks]
        woven = [parts[n % world_size][n // world_size - step * per_step // world_size]
                 for n in range(step * per_step, (step + 1) * per_step)]
        assert woven == rows(list(alone.step(step)))


@pytest.mark.parametrize(("rows_per_step", "world_size"), [(7, 2), (10, 4), (5, 5), (13, 3)])
def test_ranks_share_rows_that_do_not_divide_evenly(mixed, rows_per_step, world_size):
    alone = batches(mixed, rows_per_step=rows_per_step)
    for step in range(4):
        parts = [batches(mixed, rows_per_step=rows_per_step, rank=rank, world_size=world_size)
                 for rank in range(world_size)]
        found = [rows(list(part.step(step))) for part in parts]
        assert Counter(row for part in found for row in part) == Counter(rows(list(alone.step(step))))
        assert all(len(list(part.step(step))) <= part.micro_batches for part in parts)
        assert all(found)


def test_a_step_is_a_pure_function_of_itself(mixed):
    first, second = batches(mixed), batches(mixed)
    later = [rows(list(first.step(step))) for step in range(20)]
    assert rows(list(second.step(17))) == later[17]
    assert rows(list(second.step(3))) == later[3]


def test_the_order_follows_seed_and_epoch_and_the_data(mixed, make):
    orders = []
    for loader in (batches(mixed), batches(mixed, seed=6)):
        windows = loader._sources[0].count
        numbers = np.arange(3 * loader.rows_per_epoch)
        sources, found = loader.windows_of(numbers)
        of_first = found[sources == 0].tolist()
        orders += [tuple(of_first[epoch * windows:(epoch + 1) * windows]) for epoch in range(2)]
    assert len(set(orders)) == 4
    other = make({"a.txt": LINES.replace("9", "8"), "b.txt": LINES[::-1]}, out="other", split="line", weights={"a": 2, "b": 1})
    assert batches(other)._sources[0].count == batches(mixed)._sources[0].count
    assert batches(other).windows_of(np.arange(20))[1].tolist() != batches(mixed).windows_of(np.arange(20))[1].tolist()


def test_weights_are_kept_in_every_prefix(mixed):
    sources, _ = batches(mixed).windows_of(np.arange(1000))
    counted = np.cumsum(sources == 0)
    assert np.abs(counted - np.arange(1, 1001) * 2 / 3).max() < 1


def test_micro_batches_split_a_step_without_changing_it(mixed):
    whole = batches(mixed, micro_batch=8)
    assert whole.micro_batches == 1
    for size, count in ((1, 8), (3, 3), (5, 2)):
        split = batches(mixed, micro_batch=size)
        assert split.micro_batches == len(list(split.step(2))) == count
        assert rows(list(split.step(2))) == rows(list(whole.step(2)))


def test_isolated_rows_hold_whole_documents(make):
    data = make({"a.txt": LINES}, split="line")
    starts = data.document_starts(0, "train")
    documents = {tuple(data.tokens(0, "train")[int(start):int(end)].tolist())
                 for start, end in zip(starts, [*starts[1:], data.sources[0].train.tokens], strict=True)}
    seen = set()
    loader = batches(data, packing="isolated", max_length=100)
    for step in range(loader.rows_per_epoch // 8 + 1):
        for batch in loader.step(step):
            assert batch.documents.dtype == torch.int32
            for row in range(len(batch.inputs)):
                for number in range(int(batch.documents[row].max()) + 1):
                    here = batch.documents[row] == number
                    seen.add((*batch.inputs[row, here].tolist(), int(batch.targets[row, here][-1])))
                    assert batch.positions[row, here].tolist() == list(range(int(here.sum())))
                padding = batch.documents[row] < 0
                assert (batch.targets[row] == IGNORED).tolist() == padding.tolist()
    assert seen == documents


def test_stride_below_the_length_overlaps_windows(make):
    data = make({"a.txt": BOOK})
    tokens = data.train_tokens
    assert batches(data, stride=4).rows_per_epoch == 1 + -(-(tokens - 1 - 16) // 4)
    assert batches(data).rows_per_epoch == -(-(tokens - 1) // 16)
    assert batches(data).epoch(10) == pytest.approx(80 / batches(data).rows_per_epoch)


def test_evaluation_covers_every_token_but_the_first_of_each_source_once_and_in_order(mixed):
    found = list(evaluation_batches(mixed, max_length=16, rows=4))
    assert all(len(batch.inputs) == 4 for batch in found[:-1])
    targets = torch.cat([batch.targets.flatten() for batch in found])
    wanted = [token for source in range(2) for token in mixed.tokens(source, "val")[1:].tolist()]
    assert targets[targets != IGNORED].tolist() == wanted
    train = list(evaluation_batches(mixed, split="train", max_length=16, rows=64))
    assert sum(int((batch.targets != IGNORED).sum()) for batch in train) == mixed.train_tokens - 2


def test_evaluation_on_some_rows_spreads_them_over_the_whole_split(mixed):
    everything = rows(list(evaluation_batches(mixed, max_length=16, rows=4)))
    some = rows(list(evaluation_batches(mixed, max_length=16, rows=4, limit_rows=5)))
    assert len(some) == 5
    assert [everything.index(row) for row in some] == [n * len(everything) // 5 for n in range(5)]
    assert rows(list(evaluation_batches(mixed, max_length=16, rows=4, limit_rows=10**6))) == everything


def test_text_batches_predict_every_given_id_but_the_first():
    found = list(text_batches(list(range(10)), max_length=4, rows=2))
    assert torch.cat([batch.inputs for batch in found]).tolist() == [[0, 1, 2, 3], [4, 5, 6, 7], [8, 9, 0, 0]]
    assert found[1].targets.tolist() == [[9, IGNORED, IGNORED, IGNORED]]
    assert list(text_batches([7], max_length=4, rows=2)) == []
    assert list(text_batches([], max_length=4, rows=2)) == []


def test_a_short_text_gives_one_padded_window(make):
    data = make({"a.txt": "Bir varmış,\nbir yokmuş.\n"})
    (batch,) = batches(data, rows_per_step=2, max_length=64).step(0)
    assert batch.inputs.shape == (2, 64)
    assert batches(data, max_length=64).rows_per_epoch == 1
    assert int((batch.targets != IGNORED).sum()) == 2 * (data.train_tokens - 1)


def test_a_batch_moves_with_all_its_parts(make):
    (batch, *_) = batches(make({"a.txt": LINES}, split="line"), packing="isolated").step(0)
    moved = batch.to("meta")
    assert {getattr(moved, name).device.type for name in ("inputs", "targets", "documents", "positions")} == {"meta"}


@pytest.mark.parametrize(("settings", "message"), [
    ({"rows_per_step": 2, "world_size": 3}, "2 rows per step for 3 ranks"),
    ({"packing": "isolated", "stride": 4}, r"data\.stride 4: isolated packing"),
    ({"stride": 0}, r"data\.stride 0"),
    ({"max_length": 0}, "max_length 0: expected 1 or more"),
])
def test_settings_that_cannot_be_honoured_are_refused(make, settings, message):
    data = make({"a.txt": BOOK})
    with pytest.raises(ConfigError, match=message):
        batches(data, **settings)


def test_data_without_validation_is_refused_where_validation_is_asked_for(make):
    data = make({"a.txt": BOOK}, val_fraction=0)
    with pytest.raises(DataError, match="no val tokens to evaluate on\nprepare the data again with a larger --val-fraction"):
        next(evaluation_batches(data, max_length=16, rows=4))
