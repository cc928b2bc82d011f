"""Label numbers and probabilities of classes -> accuracy, F1, confusion, calibration; one record, streamed.

`ClassCounts` takes batches as they come and keeps (C, C) counts, the calibration bins and a few mistakes, so memory
does not grow with the rows. C: classes; N: rows; B: rows of a batch.
"""

import heapq
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike, NDArray

from tohum.errors import DataError

BINS = 15  # of equal width, arXiv:1706.04599, section 2
MISTAKES = 20
LOWEST_TEMPERATURE, HIGHEST_TEMPERATURE = 0.05, 20.0
BISECTIONS = 60


@dataclass(frozen=True, kw_only=True)
class ClassScore:
    """One class. Precision is 0 where nothing was given this label, recall where no row has it."""

    label: str
    precision: float
    recall: float
    f1: float
    support: int  # rows that have this label


@dataclass(frozen=True, kw_only=True)
class Bin:
    """Rows whose highest probability is in (low, high]; `confidence` and `accuracy` are their means, 0 without rows."""

    low: float
    high: float
    rows: int
    confidence: float
    accuracy: float


@dataclass(frozen=True, kw_only=True)
class Mistake:
    """A row, by its number, that got another label than its own, and the probability of that."""

    row: int
    label: str
    predicted: str
    probability: float


@dataclass(frozen=True, kw_only=True)
class ClassMetrics:
    """`confusion[true][predicted]` in rows, classes in the order of `per_class`. `majority_baseline`: the accuracy of
    always answering `majority_label`. `macro_f1` is the mean over classes that were seen or answered."""

    rows: int
    accuracy: float
    macro_f1: float
    per_class: tuple[ClassScore, ...]
    confusion: tuple[tuple[int, ...], ...]
    majority_label: str
    majority_baseline: float
    nll: float  # mean negative log-probability of the row's own label, nats
    expected_calibration_error: float
    bins: tuple[Bin, ...]
    mistakes: tuple[Mistake, ...]  # the most confident first


class ClassCounts:
    """What has been seen so far; `labels` are the names of the classes."""

    def __init__(self, labels: Sequence[str], *, mistakes: int = MISTAKES):
        self.labels = tuple(labels)
        classes = len(self.labels)
        self.confusion = np.zeros((classes, classes), np.int64)
        self._bins = np.zeros((BINS, 3))  # rows, sum of confidence, right ones
        self._nll = 0.0
        self._most = mistakes
        self._heap: list[tuple[float, int, int, int]] = []  # probability, -row, true, predicted; least first

    @property
    def rows(self) -> int:
        """Rows seen."""
        return int(self.confusion.sum())

    def add(self, truth: ArrayLike, probabilities: ArrayLike, rows: ArrayLike | None = None) -> None:
        """truth: (B,) label numbers; probabilities: (B, C); rows: (B,) their numbers, as they come unless told.

        Raises DataError for values that cannot be labels or probabilities.
        """
        true, given = checked(truth, probabilities, len(self.labels))
        numbers = np.arange(self.rows, self.rows + len(true)) if rows is None else np.asarray(rows, np.int64)  # (B,)
        predicted, confidence = given.argmax(axis=1), given.max(axis=1)  # (B,)
        right = predicted == true
        np.add.at(self.confusion, (true, predicted), 1)
        place = np.clip(np.ceil(confidence * BINS).astype(np.int64) - 1, 0, BINS - 1)
        np.add.at(self._bins, place, np.stack([np.ones_like(confidence), confidence, right], axis=1))
        own = given[np.arange(len(true)), true]
        self._nll -= float(np.log(np.maximum(own, np.finfo(np.float64).tiny)).sum())
        for index in np.flatnonzero(~right):
            entry = (float(confidence[index]), -int(numbers[index]), int(true[index]), int(predicted[index]))
            if len(self._heap) < self._most:
                heapq.heappush(self._heap, entry)
            elif self._heap:
                heapq.heappushpop(self._heap, entry)

    def metrics(self, majority_label: str) -> ClassMetrics:
        """majority_label: the most frequent one in train. Raises DataError when no row was added."""
        rows = self.rows
        if not rows:
            raise DataError("no rows to score; expected at least one")
        support, answered = self.confusion.sum(axis=1), self.confusion.sum(axis=0)  # (C,)
        scores = tuple(class_score(label, int(self.confusion[c, c]), int(answered[c]), int(support[c]))
                       for c, label in enumerate(self.labels))
        seen = [score.f1 for c, score in enumerate(scores) if support[c] or answered[c]]
        bins = tuple(calibration_bin(index, *row) for index, row in enumerate(self._bins.tolist()))
        error = sum(part.rows * abs(part.accuracy - part.confidence) for part in bins) / rows
        mistakes = tuple(Mistake(row=-row, label=self.labels[true], predicted=self.labels[given], probability=p)
                         for p, row, true, given in sorted(self._heap, reverse=True))
        return ClassMetrics(
            rows=rows, accuracy=float(np.trace(self.confusion)) / rows,
            macro_f1=sum(seen) / len(seen), per_class=scores, confusion=tuple(map(tuple, self.confusion.tolist())),
            majority_label=majority_label, majority_baseline=int(support[self.labels.index(majority_label)]) / rows,
            nll=self._nll / rows, expected_calibration_error=error, bins=bins, mistakes=mistakes)


def checked(truth: ArrayLike, probabilities: ArrayLike, classes: int) -> tuple[NDArray[np.int64], NDArray[np.float64]]:
    """(B,) and (B, C) as numpy. Raises DataError, for a score out of nonsense would look like any other."""
    true, given = np.asarray(truth, np.int64).reshape(-1), np.asarray(probabilities, np.float64)
    if given.shape != (len(true), classes):
        raise DataError(f"probabilities of shape {given.shape} for {len(true)} labels of {classes} classes; "
                        f"expected ({len(true)}, {classes})")
    if len(true) and not (true.min() >= 0 and true.max() < classes):
        raise DataError(f"label numbers from {true.min()} to {true.max()}; expected 0 to {classes - 1}")
    sums = given.sum(axis=1)
    if len(true) and not (np.isfinite(given).all() and given.min() >= 0 and np.abs(sums - 1).max() < 1e-2):
        raise DataError(f"probabilities with sums from {sums.min():.4g} to {sums.max():.4g}; expected 1 in every row")
    return true, given


def class_score(label: str, right: int, answered: int, support: int) -> ClassScore:
    """Precision, recall and their harmonic mean from counts."""
    return ClassScore(label=label, precision=right / answered if answered else 0.0,
                      recall=right / support if support else 0.0,
                      f1=2 * right / (answered + support) if answered + support else 0.0, support=support)


def calibration_bin(index: int, rows: float, confidence: float, right: float) -> Bin:
    """One bin from its sums."""
    return Bin(low=index / BINS, high=(index + 1) / BINS, rows=int(rows),
               confidence=confidence / rows if rows else 0.0, accuracy=right / rows if rows else 0.0)


def softmax(logits: ArrayLike, temperature: float = 1.0) -> NDArray[np.float64]:
    """(N, C) logits -> (N, C) probabilities at a temperature."""
    scaled = np.asarray(logits, np.float64) / temperature
    powers = np.exp(scaled - scaled.max(axis=1, keepdims=True))
    return powers / powers.sum(axis=1, keepdims=True)


def fit_temperature(logits: ArrayLike, labels: ArrayLike) -> float:
    """(N, C), (N,) of validation -> the temperature whose probabilities give the labels the lowest loss.

    The loss is convex in the inverse temperature b; its slope, the mean of E_p[z] - z_label, is bisected to 0
    between b = 0.05 and 20. Where every row is right there is no minimum (the sharper, the better) and nothing
    to learn from: 1.0. Raises DataError for no rows, shapes that do not fit and logits that are not finite.
    """
    scores, true = np.asarray(logits, np.float64), np.asarray(labels, np.int64).reshape(-1)
    if not len(true) or scores.ndim != 2 or len(scores) != len(true) or not np.isfinite(scores).all():
        raise DataError(f"logits of shape {scores.shape} for {len(true)} labels; expected finite ones, a row for each")
    own = scores[np.arange(len(true)), true]  # (N,)
    if (scores.max(axis=1) == own).all():
        return 1.0
    low, high = 1 / HIGHEST_TEMPERATURE, 1 / LOWEST_TEMPERATURE
    for _ in range(BISECTIONS):
        middle = (low * high) ** 0.5
        slope = float(((softmax(scores, 1 / middle) * scores).sum(axis=1) - own).mean())
        low, high = (middle, high) if slope < 0 else (low, middle)
    return 1 / (low * high) ** 0.5
