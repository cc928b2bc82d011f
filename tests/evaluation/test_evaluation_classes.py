"""evaluation: scores of a classifier equal scikit-learn's, are streamed, and are calibrated by one temperature."""

import numpy as np
import pytest

from tohum.errors import DataError
from tohum.evaluation.classes import BINS, ClassCounts, fit_temperature, softmax

LABELS = ("a", "b", "c", "d")


@pytest.fixture(scope="module")
def scored() -> tuple[np.ndarray, np.ndarray]:
    """(truth, logits) of 500 rows in 4 classes, of which the last is never true and hardly ever predicted."""
    random = np.random.default_rng(1)
    truth = random.choice(3, size=500, p=[0.6, 0.3, 0.1])
    logits = random.normal(size=(500, 4)) * 2
    logits[np.arange(500), truth] += 2
    logits[:, 3] -= 3
    return truth, logits


def metrics(truth, probabilities, batch: int = 500):
    counts = ClassCounts(LABELS)
    for start in range(0, len(truth), batch):
        counts.add(truth[start:start + batch], probabilities[start:start + batch])
    return counts.metrics("a")


def test_scores_equal_those_of_scikit_learn(scored):
    sklearn = pytest.importorskip("sklearn.metrics")
    truth, logits = scored
    probabilities = softmax(logits)
    predicted = probabilities.argmax(axis=1)
    ours = metrics(truth, probabilities)
    assert (predicted == 3).any()
    assert ours.accuracy == pytest.approx(sklearn.accuracy_score(truth, predicted), abs=1e-12)
    assert ours.macro_f1 == pytest.approx(sklearn.f1_score(truth, predicted, average="macro"), abs=1e-12)
    assert np.array_equal(ours.confusion, sklearn.confusion_matrix(truth, predicted, labels=range(4)))
    theirs = sklearn.precision_recall_fscore_support(truth, predicted, labels=range(4), zero_division=0)
    for score, *expected in zip(ours.per_class, *theirs, strict=True):
        assert [score.precision, score.recall, score.f1, score.support] == pytest.approx(expected, abs=1e-12)
    assert ours.nll == pytest.approx(sklearn.log_loss(truth, probabilities, labels=range(4)), abs=1e-12)
    assert ours.majority_baseline == pytest.approx(np.mean(truth == 0))


def test_batches_of_any_size_give_the_same_record(scored):
    truth, logits = scored
    whole, pieces = metrics(truth, softmax(logits)), metrics(truth, softmax(logits), batch=7)
    assert pieces.nll == pytest.approx(whole.nll)
    assert pieces.expected_calibration_error == pytest.approx(whole.expected_calibration_error)
    assert (pieces.confusion, pieces.mistakes, pieces.macro_f1) == (whole.confusion, whole.mistakes, whole.macro_f1)


def test_calibration_error_equals_its_definition(scored):
    truth, logits = scored
    probabilities = softmax(logits)
    confidence, right = probabilities.max(axis=1), probabilities.argmax(axis=1) == truth
    error = 0.0
    for m in range(1, 16):  # arXiv:1706.04599, equation 3: (m - 1) / M < confidence <= m / M
        inside = (confidence > (m - 1) / 15) & (confidence <= m / 15)
        if inside.any():
            error += inside.mean() * abs(right[inside].mean() - confidence[inside].mean())
    ours = metrics(truth, probabilities)
    assert ours.expected_calibration_error == pytest.approx(error, abs=1e-12)
    assert len(ours.bins) == BINS == 15
    assert sum(part.rows for part in ours.bins) == 500
    assert all(part.low < part.confidence <= part.high for part in ours.bins if part.rows)


def test_sure_and_right_is_calibrated_and_sure_and_wrong_is_not():
    sure = np.eye(4)[[0, 1, 2, 0]]
    assert metrics(np.array([0, 1, 2, 0]), sure).expected_calibration_error == 0.0
    wrong = metrics(np.array([1, 2, 0, 1]), sure)
    assert (wrong.expected_calibration_error, wrong.accuracy, wrong.bins[-1].rows) == (1.0, 0.0, 4)
    assert np.isfinite(wrong.nll)


def test_mistakes_are_the_most_confident_wrong_answers(scored):
    truth, logits = scored
    probabilities = softmax(logits)
    wrong = np.flatnonzero(probabilities.argmax(axis=1) != truth)
    expected = sorted(wrong, key=lambda row: (-probabilities[row].max(), row))[:20]
    ours = metrics(truth, probabilities, batch=9)
    assert [mistake.row for mistake in ours.mistakes] == expected
    assert ours.mistakes[0].label == LABELS[truth[expected[0]]]
    assert ours.mistakes[0].predicted == LABELS[probabilities[expected[0]].argmax()]
    counts = ClassCounts(LABELS)
    for part in np.array_split(np.argsort(probabilities.max(axis=1)), 11):  # as buckets of length come
        counts.add(truth[part], probabilities[part], part)
    assert counts.metrics("a").mistakes == ours.mistakes


def test_macro_f1_leaves_out_classes_that_were_neither_seen_nor_answered():
    assert metrics(np.array([0, 1]), np.eye(4)[[0, 1]]).macro_f1 == 1.0
    assert metrics(np.array([0, 1]), np.eye(4)[[0, 3]]).macro_f1 == pytest.approx(1 / 3)


def test_temperature_minimises_the_loss_of_validation(scored):
    truth, logits = scored

    def loss(temperature: float) -> float:
        return -np.log(softmax(logits, temperature)[np.arange(len(truth)), truth]).mean()

    fitted = fit_temperature(logits, truth)
    assert all(loss(fitted) <= loss(fitted * factor) for factor in (0.5, 0.9, 0.999, 1.001, 1.1, 2.0))
    assert fit_temperature(logits * 3, truth) == pytest.approx(3 * fitted, rel=1e-9)
    before, after = (metrics(truth, softmax(logits * 3, t)) for t in (1.0, 3 * fitted))
    assert after.expected_calibration_error < before.expected_calibration_error / 2
    assert after.accuracy == before.accuracy


def test_temperature_is_one_where_nothing_is_wrong_and_bounded_where_all_is():
    assert fit_temperature([[3.0, 0.0], [0.0, 1.0]], [0, 1]) == 1.0
    assert fit_temperature([[3.0, 0.0], [0.0, 1.0]], [1, 0]) == pytest.approx(20.0, rel=1e-6)


def test_nonsense_is_refused():
    counts = ClassCounts(LABELS)
    with pytest.raises(DataError, match="no rows to score"):
        counts.metrics("a")
    with pytest.raises(DataError, match=r"probabilities of shape \(1, 3\) for 1 labels of 4 classes"):
        counts.add([0], [[0.5, 0.5, 0.0]])
    with pytest.raises(DataError, match="label numbers from -100 to 0; expected 0 to 3"):
        counts.add([0, -100], np.eye(4)[:2])
    with pytest.raises(DataError, match="probabilities with sums from 2 to 2; expected 1"):
        counts.add([0], [[2.0, 0.0, 0.0, 0.0]])
    with pytest.raises(DataError, match="expected finite ones"):
        fit_temperature([[float("nan"), 0.0]], [0])
    assert counts.rows == 0
