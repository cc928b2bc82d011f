"""Fit the predictor on benchmarks/results/calibration.json and print src/tohum/pretraining/constants.py.

Ridge regression in the logarithm of bits per byte. The width of an interval is what 8 of 10 errors stay below when
one text at a time is left out of the fit: it must hold for a text that the fit has not seen.
"""

import json
from typing import Any

import numpy as np
from benchmarks.common import RESULTS

from tohum.pretraining.corpus import Statistics
from tohum.pretraining.forecast import FRACTIONS
from tohum.pretraining.predict import Curve, Size, curve_features, prior_features

RIDGE = 1e-2  # on features of mean 0 and deviation 1: few runs, correlated features


def fit(x: np.ndarray, y: np.ndarray) -> np.ndarray:
    """Weights (features,) for rows x (runs, features) and targets y (runs,); the first feature is 1, not shrunk."""
    mean, deviation = x[:, 1:].mean(axis=0), x[:, 1:].std(axis=0)
    scaled = np.column_stack([np.ones(len(x)), (x[:, 1:] - mean) / deviation])
    penalty = RIDGE * len(y) * np.eye(x.shape[1])
    penalty[0, 0] = 0.0
    weights = np.linalg.solve(scaled.T @ scaled + penalty, scaled.T @ y)
    slopes = weights[1:] / deviation
    return np.array([weights[0] - slopes @ mean, *slopes])


def left_out(x: np.ndarray, y: np.ndarray, texts: list[str]) -> np.ndarray:
    """Error of each run's prediction by a fit without its text."""
    errors = np.zeros(len(y))
    for name in set(texts):
        mine = np.array([text == name for text in texts])
        errors[mine] = x[mine] @ fit(x[~mine], y[~mine]) - y[mine]
    return errors


def report(title: str, x: np.ndarray, y: np.ndarray, texts: list[str]) -> tuple[tuple[float, ...], float]:
    """Weights and width, with the errors as comments."""
    errors = np.abs(left_out(x, y, texts))
    print(f"# {title}: {len(y)} runs, error on a text left out: median {np.median(errors):.1%}, "
          f"8 of 10 below {np.quantile(errors, 0.8):.1%}, largest {errors.max():.1%}")
    return tuple(round(float(w), 5) for w in fit(x, y)), round(float(np.quantile(errors, 0.8)), 4)


def main() -> None:
    """Print the module."""
    rows: list[dict[str, Any]] = json.loads((RESULTS / "calibration.json").read_text("utf-8"))["rows"]
    priors = [prior_features(Statistics(**row["statistics"]), Size(**row["size"])) for row in rows]
    # The byte model's bits are the unit, so that its weight shrinks towards one.
    bits = np.log([row["bits_per_byte"] for row in rows])
    texts = [row["corpus"].removesuffix("-characters").removesuffix("-1k") for row in rows]
    x = np.array(priors)
    prior, width = report("before step 0", x, bits - x[:, 1], texts)
    prior = (prior[0], round(prior[1] + 1, 5), *prior[2:])
    curves, widths = {}, {}
    for fraction in FRACTIONS:
        known = [i for i, row in enumerate(rows) if row.get("standing")]
        seen = [curve_of(rows[i], fraction) for i in known]
        features = np.array([curve_features(curve, priors[i]) for curve, i in zip(seen, known, strict=True)])
        left = bits[known] - np.log([curve.now for curve in seen])
        curves[fraction], widths[fraction] = report(f"at {fraction:.0%}", features, left, [texts[i] for i in known])
    print(f"PRIOR = {prior}\nPRIOR_WIDTH = {width}\nCURVE = {curves}\nCURVE_WIDTH = {widths}")


def curve_of(row: dict[str, Any], fraction: float) -> Curve:
    """Where a calibration run stood."""
    stands = [row["standing"][str(each)] for each in FRACTIONS if each <= fraction]
    return Curve(fraction=fraction, now=stands[-1], before=stands[-2] if len(stands) > 1 else None)


if __name__ == "__main__":
    main()
