"""Two runs side by side: what differs, and nothing else."""

import json

import pytest

from tests.report.runs import write_run
from tests.report.tuned_runs import write_tuned
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


def test_comparison_of_two_classifiers_says_which_is_better_and_shows_both_matrices(tmp_path):
    a, b = (write_tuned(tmp_path / name, "classify") for name in "ab")
    result = json.loads((b / "result.json").read_text())
    result["test"] |= {"macro_f1": 0.95, "accuracy": 0.9525}
    (b / "result.json").write_text(json.dumps(result))
    text = write_comparison(a, b).read_text("utf-8")
    assert "b is better than a: macro-F1 0.9500 against 0.8940." in text
    assert "+1.0 points" in text
    assert text.count("Confusion matrix") == 2
    assert "over texts" in text
    assert "A a" in text


def test_comparison_of_classifiers_with_other_test_rows_names_no_better_one(tmp_path):
    a = write_tuned(tmp_path / "a", "classify")
    b = write_tuned(tmp_path / "b", "classify", balance="undersample", seed=8)
    result = json.loads((b / "result.json").read_text())
    result["test"]["macro_f1"] = 0.95
    (b / "result.json").write_text(json.dumps(result))
    text = write_comparison(a, b).read_text("utf-8")
    assert "tested on different rows" in text
    assert "is better than" not in text
    assert 'value better">0.9500' not in text


@pytest.mark.parametrize("kind", ["instruct", "prefer"])
def test_comparison_of_assistants_shows_both_answers_to_a_question(tmp_path, kind):
    a, b = (write_tuned(tmp_path / name, kind) for name in "ab")
    (b / "answers.jsonl").write_text((b / "answers.jsonl").read_text().replace('"answer 3"', '"<i>other</i> 3"'))
    text = write_comparison(a, b).read_text("utf-8")
    assert "&lt;i&gt;other&lt;/i&gt; 3" in text
    assert "<summary>5 more</summary>" in text
    assert "At 20 it sings." in text


def test_comparison_of_two_kinds_of_runs_does_not_compare_their_losses(tmp_path):
    a, b, c = write_tuned(tmp_path / "a", "classify"), write_tuned(tmp_path / "b", "prefer"), write_run(tmp_path / "c")
    text = write_comparison(a, b).read_text("utf-8")
    assert "a is a classifier, b a preference run" in text
    assert "validation loss" not in text
    assert "<td>accuracy" not in text
    assert "c is a pretraining run, a a classifier" in write_comparison(c, a).read_text("utf-8")


def test_comparison_works_when_one_classifier_is_not_tested_yet(tmp_path):
    a, b = write_tuned(tmp_path / "a", "classify"), write_tuned(tmp_path / "b", "classify", finished=False)
    assert "has not been tested yet" in write_comparison(a, b).read_text("utf-8")


def test_comparison_of_preference_runs_with_two_losses_leaves_the_losses_out(tmp_path):
    a, b = (write_tuned(tmp_path / method, "prefer", method=method) for method in ("dpo", "orpo"))
    text = write_comparison(a, b).read_text("utf-8")
    assert "Both have the same “chosen answer is likelier”: 69.00%." in text
    assert "loss</td>" not in text
    assert "Validation loss" not in text
