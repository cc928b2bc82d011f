"""A split -> what TF-IDF and logistic regression make of it: the figure that a network has to beat.

Words and pairs of words, weighted by TF-IDF; the one
free choice, the inverse strength of the regulariser, is made on validation. Needs scikit-learn (tohum[baselines]).
"""

import time
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from tohum.classification.rows import LabelledRow
from tohum.classification.split import Split, majority_label
from tohum.evaluation.classes import ClassCounts, ClassMetrics

if TYPE_CHECKING:
    from sklearn.feature_extraction.text import TfidfVectorizer
    from sklearn.linear_model import LogisticRegression

STRENGTHS = (1.0, 10.0, 100.0)  # C of scikit-learn: the larger, the weaker the regulariser
ABSENT = 'not installed: pip install "tohum[baselines]"'


@dataclass(frozen=True, kw_only=True)
class Baseline:
    """`metrics`: of the test rows, None where there is a `note` that says why."""

    name: str = "TF-IDF + logistic regression"
    metrics: ClassMetrics | None = None
    strength: float = 0.0
    seconds: float = 0.0
    note: str = ""


def tfidf_baseline(split: Split, labels: Sequence[str]) -> Baseline:
    """Train on split.train with split.class_weights, choose on validation, score on test.

    labels: all classes, in the order of the metrics. Without scikit-learn, or without words, a note.
    """
    try:
        from sklearn.feature_extraction.text import TfidfVectorizer
        from sklearn.linear_model import LogisticRegression
    except ImportError:
        return Baseline(note=ABSENT)
    started = time.perf_counter()
    words = TfidfVectorizer(ngram_range=(1, 2), sublinear_tf=True, token_pattern=r"(?u)\b\w+\b")
    try:
        features = words.fit_transform([row.text for row in split.train])
    except ValueError:  # scikit-learn's "empty vocabulary"
        return Baseline(note="no words in the training rows")
    truth = [labels.index(row.label) for row in split.train]
    weights = {number: split.class_weights[label] for number, label in enumerate(labels)}
    best: tuple[float, float, LogisticRegression] | None = None
    for strength in STRENGTHS:
        model = LogisticRegression(C=strength, class_weight=weights, max_iter=1000)
        model.fit(features, truth)
        macro_f1 = scored(model, words, split, split.validation, labels).macro_f1
        if best is None or macro_f1 > best[0]:
            best = (macro_f1, strength, model)
    assert best is not None
    metrics = scored(best[2], words, split, split.test, labels)
    return Baseline(metrics=metrics, strength=best[1], seconds=time.perf_counter() - started)


def scored(model: "LogisticRegression", words: "TfidfVectorizer", split: Split, rows: Sequence[LabelledRow],
           labels: Sequence[str]) -> ClassMetrics:
    """The metrics of some rows; every class is in train, so column c of the probabilities is class c."""
    counts = ClassCounts(labels)
    counts.add([labels.index(row.label) for row in rows],
               model.predict_proba(words.transform([row.text for row in rows])))
    return counts.metrics(majority_label(split.train))
