"""Two runs side by side: what differs, and nothing else."""

import json

import pytest

from tests.report.runs import write_run
from tohum.report.compare import differences, headline_row, write_comparison

LESS_IS_BETTER = ("bits_per_byte", "bits per byte", "{:.2f}".format, True)
MORE_IS_BETTER = ("tokens_per_second", "tokens per second", "{:.0f}".format, False)


@pytest.fixture
def two_runs(tmp_path):
    a, b = write_run(tmp_path / "a", steps=40), write_run(tmp_path / "b", steps=30, seed=1, lr=0.01)
    result = json.loads((b / "result.json").read_text()) | {"val_bits_per_byte": 1.5}
    (b / "result.json").write_text(json.dumps(result))
    return a, b


def test_comparison_shows_both_runs_and_only_settings_that_differ(two_runs):
    path = write_comparison(*two_runs)
    text = path.read_text("utf-8")
    assert path == two_runs[0] / "compare-with-b.html"
    assert "b needs 0.275 bits per byte less than a (15.5%)" in text
    assert "optimizer.lr" in text
    assert "training.seed" in text
    assert "schedule.kind" not in text
    assert text.count('class="a dots dot"') == text.count('class="b dots dot"') == 2


def test_comparison_warns_when_the_texts_are_not_the_same(two_runs):
    result = json.loads((two_runs[1] / "result.json").read_text()) | {"data_fingerprint": "other"}
    (two_runs[1] / "result.json").write_text(json.dumps(result))
    assert "different texts" in write_comparison(*two_runs).read_text("utf-8")


def test_comparison_of_a_run_with_itself_finds_no_difference(two_runs):
    text = write_comparison(two_runs[0], two_runs[0], two_runs[0] / "c.html").read_text("utf-8")
    assert "Both need 1.7750 bits per byte" in text
    assert "same in every key" in text


def test_comparison_works_when_one_run_has_nothing_yet(two_runs, tmp_path):
    empty = tmp_path / "empty"
    empty.mkdir()
    (empty / "metrics.jsonl").write_text("")
    assert "has not been validated yet" in write_comparison(empty, two_runs[0]).read_text("utf-8")


def test_the_better_value_depends_on_the_kind_of_number():
    assert headline_row(LESS_IS_BETTER, 2.0, 1.0)["better"] == "b"
    assert headline_row(MORE_IS_BETTER, 2.0, 1.0)["better"] == "a"
    assert headline_row(LESS_IS_BETTER, 2.0, 2.0)["better"] == ""
    assert headline_row(LESS_IS_BETTER, 2.0, 1.0)["change"] == "-50.0 %"
    assert headline_row(LESS_IS_BETTER, None, 1.0)["a"] == ""


def test_differences_name_keys_that_only_one_has():
    found = differences({"a": {"x": 1, "y": [1, 2]}}, {"a": {"x": 1, "y": [1, 3]}, "z": True})
    assert found == [{"key": "a.y", "a": "1, 2", "b": "1, 3"}, {"key": "z", "a": "", "b": "true"}]
