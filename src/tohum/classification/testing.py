"""The test of a classifier: scores of rows that it never saw -> figures, baselines, its most confident mistakes."""

from dataclasses import asdict
from typing import Any

from tohum.classification.baseline import tfidf_baseline
from tohum.classification.build import ClassSetup, labels_in
from tohum.classification.prepare import Rows
from tohum.evaluation.classes import ClassCounts, ClassMetrics, fit_temperature, softmax


def tested(setup: ClassSetup, rows: Rows) -> dict[str, Any]:
    """Everything that the report and the contract want to know about the test rows."""
    scores = setup.test()
    temperature = fit_temperature(setup.validation(), labels_in(rows.validation.examples))
    truth = labels_in(rows.test.examples)
    plain, calibrated = (metrics_of(rows, truth, softmax(scores, heat)) for heat in (1.0, temperature))
    found: dict[str, Any] = asdict(plain)
    found["mistakes"] = [mistake | {"text": rows.test.rows[mistake["row"]].text,
                                    "place": rows.test.rows[mistake["row"]].place} for mistake in found["mistakes"]]
    per_class = {score.pop("label"): score for score in found.pop("per_class")}
    baseline = tfidf_baseline(rows.split, rows.labels)
    return found | {"per_class": per_class, "temperature": temperature,
                    "calibrated": {"expected_calibration_error": calibrated.expected_calibration_error,
                                   "nll": calibrated.nll, "bins": [asdict(part) for part in calibrated.bins]},
                    "tfidf_baseline": baseline_json(baseline), "natural": rows.natural}


def metrics_of(rows: Rows, truth: Any, probabilities: Any) -> ClassMetrics:
    """One record of all figures."""
    counts = ClassCounts(rows.labels)
    counts.add(truth, probabilities)
    return counts.metrics(rows.majority)


def baseline_json(baseline: Any) -> dict[str, Any]:
    """Name, figures or the reason why there are none."""
    found = {"name": baseline.name, "note": baseline.note, "seconds": round(baseline.seconds, 3)}
    if baseline.metrics is not None:
        found |= {"accuracy": baseline.metrics.accuracy, "macro_f1": baseline.metrics.macro_f1}
    return found
