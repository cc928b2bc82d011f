"""The classifier's part of a page: test figures -> baselines, classes, calibration, the most confident mistakes."""

from typing import Any

from markupsafe import Markup

from tohum.report.classes import confusion_figure, reliability_figure
from tohum.report.facts import Tile
from tohum.report.read import Line, RunRecord, first_number, number, records, section

OPEN_MISTAKES, OPEN_CLASSES = 8, 30
MOST_CLASSES = 100  # of a matrix: beyond, its fields are too many for a page and too small for an eye
Z = 1.96  # of a 95 % interval


def sentence(run: RunRecord) -> str:
    """What the classifier is worth, for someone who meets it for the first time."""
    test, last = section(run.result, "test"), run.evaluations[-1] if run.evaluations else {}
    rows, accuracy = number(test.get("rows")), number(test.get("accuracy"))
    if not rows or accuracy is None:
        seen = number(last.get("accuracy"))
        return ("No validation has been made yet." if seen is None else
                f"The test has not been made yet. On validation, at step {last.get('step')}, {seen:.1%} are right.")
    said = f"Of {rows:,.0f} texts that it was not trained on, this classifier gets {rows * accuracy:,.0f} right."
    majority, tfidf = number(test.get("majority_baseline")), section(test, "tfidf_baseline")
    others = [f"always answering “{test.get('majority_label')}” {rows * majority:,.0f}"] if majority is not None else []
    counted = number(tfidf.get("accuracy"))
    others += [f"{tfidf.get('name')} {rows * counted:,.0f}"] if counted is not None else []
    return said + (f" For comparison: {' and '.join(others)}." if others else "")


def tiles(run: RunRecord) -> list[Tile]:
    """Accuracy, macro-F1, calibration; before the test those of validation."""
    test, last = section(run.result, "test"), run.evaluations[-1] if run.evaluations else {}
    where = "" if test else " on validation"
    accuracy, f1 = (first_number(test.get(key), last.get(key)) for key in ("accuracy", "macro_f1"))
    error = number(section(test, "calibrated").get("expected_calibration_error"))
    rows = number(test.get("rows"))
    found = [Tile(value=f"{accuracy:.1%}", name=f"accuracy{where}", note=interval(accuracy, rows))
             ] if accuracy is not None else []
    found += [Tile(value=f"{f1:.3f}", name=f"macro-F1{where}")] if f1 is not None else []
    return found + ([Tile(value=f"{error:.3f}", name="calibration error", note="at the fitted temperature")]
                    if error is not None else [])


def interval(share: float, rows: float | None) -> str:
    """Wilson's 95 % interval of a share of `rows`."""
    if not rows:
        return ""
    middle = (share + Z * Z / (2 * rows)) / (1 + Z * Z / rows)
    reach = Z / (1 + Z * Z / rows) * (share * (1 - share) / rows + Z * Z / (4 * rows * rows)) ** 0.5
    return f"95 % interval {(middle - reach) * 100:.1f} to {middle + reach:.1%}"


def warnings(run: RunRecord) -> list[str]:
    """What a reader of the figures must know."""
    test = section(run.result, "test")
    accuracy, majority = number(test.get("accuracy")), number(test.get("majority_baseline"))
    f1, other = number(test.get("macro_f1")), number(section(test, "tfidf_baseline").get("macro_f1"))
    found = []
    if test.get("natural") is False:
        found.append("The test texts are not the natural mixture: rows of the larger classes were left out before the "
                     "split. Where one class is rare, precision on real texts will be lower.")
    if accuracy is not None and majority is not None and accuracy <= majority:
        found.append(f"Accuracy is not above that of always answering “{test.get('majority_label')}”.")
    if f1 is not None and other is not None and other > f1:
        found.append("Counting words (TF-IDF and logistic regression) has the higher macro-F1.")
    return found


def classes(run: RunRecord) -> dict[str, Any] | None:
    """What the sections on classes show; None before the test."""
    test = section(run.result, "test")
    per_class = section(test, "per_class")
    if not per_class:
        return None
    scores = [class_row(label, score) for label, score in per_class.items() if isinstance(score, dict)]
    mistakes = [mistake_row(mistake) for mistake in records(test, "mistakes")]
    return {"compared": compared(test), "note": str(section(test, "tfidf_baseline").get("note") or ""),
            "per_class": scores[:OPEN_CLASSES], "more_classes": scores[OPEN_CLASSES:],
            "confusion": confusion(test), "reliability": reliability(test), "many": len(per_class) > 6,
            "temperature": number(test.get("temperature")), "mistakes": mistakes[:OPEN_MISTAKES],
            "more_mistakes": mistakes[OPEN_MISTAKES:]}


def compared(test: Line) -> list[Line]:
    """This classifier, the baselines: accuracy and macro-F1 with the width (in percent) of their bars."""
    tfidf = section(test, "tfidf_baseline")
    named = [("this classifier", number(test.get("accuracy")), number(test.get("macro_f1"))),
             (str(tfidf.get("name", "TF-IDF")), number(tfidf.get("accuracy")), number(tfidf.get("macro_f1"))),
             (f"always “{test.get('majority_label')}”", number(test.get("majority_baseline")), majority_f1(test))]
    return [{"name": name, "own": index == 0, "scores": [
        {"value": f"{accuracy:.1%}", "width": accuracy * 100},
        {"value": "" if f1 is None else f"{f1:.3f}", "width": (f1 or 0.0) * 100}]}
        for index, (name, accuracy, f1) in enumerate(named) if accuracy is not None]


def majority_f1(test: Line) -> float | None:
    """Macro-F1 of one answer to everything: 2p / (1 + p) for its class, 0 for the other classes that were seen."""
    share = number(test.get("majority_baseline"))
    scores = [score for score in section(test, "per_class").values() if isinstance(score, dict)]
    seen = sum(1 for score in scores if number(score.get("support")))
    return None if share is None or not seen else 2 * share / (1 + share) / seen


def class_row(label: str, score: Line) -> Line:
    """Precision, recall and F1 of a class as text."""
    support = number(score.get("support"))
    return {"label": label, "support": "" if support is None else f"{support:,.0f}"} | {
        key: "" if (value := number(score.get(key))) is None else f"{value:.3f}"
        for key in ("precision", "recall", "f1")}


def confusion(test: Line) -> Markup:
    """The matrix; "" where it is damaged, or too large."""
    labels, matrix = [str(label) for label in section(test, "per_class")], test.get("confusion")
    size = len(labels)
    whole = isinstance(matrix, list) and len(matrix) == size <= MOST_CLASSES and all(
        isinstance(row, list) and len(row) == size and None not in map(number, row) for row in matrix)
    return confusion_figure(labels, matrix) if whole and isinstance(matrix, list) else Markup("")


def reliability(test: Line) -> list[Line]:
    """Before and after the temperature: drawing, expected calibration error and loss."""
    found = []
    for name, values in (("as trained", test), ("at the fitted temperature", section(test, "calibrated"))):
        bins = [part for part in records(values, "bins") if None not in (
            number(part.get(key)) for key in ("low", "high", "rows", "confidence", "accuracy"))]
        error, loss = number(values.get("expected_calibration_error")), number(values.get("nll"))
        if drawn := reliability_figure(bins):
            found.append({"name": name, "figure": drawn, "error": "" if error is None else f"{error:.3f}",
                          "loss": "" if loss is None else f"{loss:.3f}"})
    return found


def mistake_row(mistake: Line) -> Line:
    """One wrong answer."""
    probability = number(mistake.get("probability"))
    return {key: str(mistake.get(key, "")) for key in ("label", "predicted", "text", "place")} | {
        "probability": "" if probability is None else f"{probability:.1%}"}
