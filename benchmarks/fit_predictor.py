"""Fit the predictor on benchmarks/results/calibration.json and print src/tohum/pretraining/constants.py.

Ridge regression in the logarithm of bits per byte, with the error estimated by leaving one corpus out at a time:
an interval must hold for a text that the fit has not seen.
"""

import json
import math
from typing import Any

import numpy as np
from benchmarks.common import RESULTS

from tohum.pretraining.corpus import Statistics
from tohum.pretraining.predict import Curve, Prediction, Size, curve_features, prior_features

RIDGE = 1e-3  # few runs, correlated features


def fit(x: np.ndarray, y: np.ndarray) -> np.ndarray:
    """Weights (features,) for rows x (runs, features) and targets y (runs,); the constant is not shrunk."""
    penalty = RIDGE * len(y) * np.eye(x.shape[1])
    penalty[0, 0] = 0.0
    return np.linalg.solve(x.T @ x + penalty, x.T @ y)


def left_out(x: np.ndarray, y: np.ndarray, corpora: list[str]) -> np.ndarray:
    """Error of each run's prediction by a fit without its corpus."""
    errors = np.zeros(len(y))
    for name in set(corpora):
        mine = np.array([corpus == name for corpus in corpora])
        errors[mine] = x[mine] @ fit(x[~mine], y[~mine]) - y[mine]
    return errors


def report(title: str, x: np.ndarray, y: np.ndarray, corpora: list[str]) -> tuple[tuple[float, ...], float]:
    """Weights and sigma, with the errors as comments."""
    errors = left_out(x, y, corpora)
    sigma = max(0.01, float(np.sqrt(np.mean(errors**2))))
    print(f"# {title}: {len(y)} runs, error on a corpus left out: median {np.median(abs(errors)):.1%}, "
          f"largest {max(abs(errors)):.1%}")
    return tuple(round(float(w), 5) for w in fit(x, y)), round(sigma, 4)


def main() -> None:
    """Print the module."""
    rows: list[dict[str, Any]] = json.loads((RESULTS / "calibration.json").read_text("utf-8"))["rows"]
    corpora = [row["corpus"].removesuffix("-characters") for row in rows]
    y = np.log([row["bits_per_byte"] for row in rows])
    features = [prior_features(Statistics(**row["statistics"]), Size(**row["size"])) for row in rows]
    x = np.array(features)
    prior, sigma = report("before step 0", x, y, corpora)
    curves, curve_sigmas = {}, {}
    expected = np.exp(y + left_out(x, y, corpora))  # what the prior says of a text that it was not fitted on
    for fraction in (0.1, 0.25):
        seen = np.array([curve_features(
            Curve(fraction=fraction, train_bits_per_byte=row["curve"][str(fraction)]),
            Prediction(bits_per_byte=float(before), low=math.nan, high=math.nan, features=seen_before))
            for row, before, seen_before in zip(rows, expected, features, strict=True)])
        curves[fraction], curve_sigmas[fraction] = report(f"at {fraction:.0%}", seen, y, corpora)
    print(f"PRIOR = {prior}\nPRIOR_SIGMA = {sigma}\nCURVE = {curves}\nCURVE_SIGMA = {curve_sigmas}")


if __name__ == "__main__":
    main()
