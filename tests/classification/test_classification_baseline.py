"""classification: the TF-IDF baseline scores the same test rows, and its absence is a note."""

import dataclasses
import sys

import pytest

from tohum.classification.baseline import ABSENT, tfidf_baseline
from tohum.classification.rows import LabelledRow, read_labelled
from tohum.classification.split import Split, split_rows

LABELS = ("2", "10")  # scikit-learn would take them for numbers and sort them otherwise


def rows(*texts: str) -> tuple[LabelledRow, ...]:
    return tuple(LabelledRow(text=text, label=LABELS["good" in text], place=f"f:{n}") for n, text in enumerate(texts))


def split(words: str = "film") -> Split:
    train = rows(*(f"a {kind} {words} {n}" for n in range(6) for kind in ("good", "bad", "awful")))
    return Split(train=train, validation=train[:3], test=rows("good one", "bad one", "awful one", "good or awful"),
                 class_weights={"2": 0.75, "10": 1.5}, notes=())


def test_baseline_gives_the_metrics_of_the_test_rows():
    pytest.importorskip("sklearn")
    found = tfidf_baseline(split(), LABELS)
    assert found.metrics is not None
    assert found.metrics.rows == 4
    assert [score.label for score in found.metrics.per_class] == ["2", "10"]
    assert [score.support for score in found.metrics.per_class] == [2, 2]
    assert found.metrics.accuracy >= 0.75
    assert found.metrics.majority_label == "2"
    assert found.seconds > 0
    again = tfidf_baseline(split(), LABELS)
    assert dataclasses.replace(found, seconds=0.0) == dataclasses.replace(again, seconds=0.0)


def test_baseline_uses_the_class_weights():
    pytest.importorskip("sklearn")
    heavy = dataclasses.replace(split(), test=rows("neither of them"), class_weights={"2": 0.001, "10": 100.0})
    light = dataclasses.replace(heavy, class_weights={"2": 100.0, "10": 0.001})
    assert [tfidf_baseline(one, LABELS).metrics.accuracy for one in (heavy, light)] == [0.0, 1.0]


def test_baseline_that_cannot_be_is_a_note(monkeypatch):
    wordless = dataclasses.replace(split(), train=tuple(LabelledRow(text="!!!", label=label, place="f:1") for label in LABELS))
    if "sklearn" in sys.modules:
        assert tfidf_baseline(wordless, LABELS).note == "no words in the training rows"
    monkeypatch.setitem(sys.modules, "sklearn.feature_extraction.text", None)
    found = tfidf_baseline(split(), LABELS)
    assert (found.metrics, found.note) == (None, ABSENT)
    assert 'pip install "tohum[baselines]"' in found.note


def test_baseline_is_strong_on_sms_spam(shared_data):
    pytest.importorskip("sklearn")
    spam = read_labelled(shared_data / "classification" / "sms_spam.tsv")
    metrics = tfidf_baseline(split_rows(spam, seed=1337), spam.labels).metrics
    assert metrics is not None
    assert metrics.majority_baseline == pytest.approx(0.8654708520179372)
    assert metrics.macro_f1 > 0.95
