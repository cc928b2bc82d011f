"""Predicted bits per byte: text statistics, model size and tokens -> a value with an 80 % interval.

A linear model of logarithms, fitted by `python benchmarks/fit_predictor.py` on runs over corpora of their own
(benchmarks/results/calibration.json). Before the run it knows how well byte models of order 1 to 5 and xz do on the
text, the parameters and the tokens; on the way it also knows the validation loss so far.
"""

import math
from dataclasses import dataclass, field

from tohum.pretraining.constants import CURVE, CURVE_SIGMA, PRIOR, PRIOR_SIGMA
from tohum.pretraining.corpus import Statistics

Z80 = 1.2816  # 80 % of a normal distribution lie within ± 1.28 standard deviations


@dataclass(frozen=True, kw_only=True)
class Size:
    """What a run is, in numbers."""

    parameters: int
    tokens: int  # seen in training
    bytes_seen: float
    bytes_unique: float  # of training text


@dataclass(frozen=True, kw_only=True)
class Prediction:
    """Bits per byte of the validation text at the end of the run; low … high holds it in 8 of 10 runs."""

    bits_per_byte: float
    low: float
    high: float
    features: tuple[float, ...] = field(default=(), repr=False)


@dataclass(frozen=True, kw_only=True)
class Curve:
    """The run so far: validation bits per byte at `fraction` of the run (pretraining/forecast.py)."""

    fraction: float
    val_bits_per_byte: float


def prior_features(text: Statistics, size: Size) -> tuple[float, ...]:
    """Of a run before step 0: the text's difficulty, how much is read, how often, in how large pieces, by how much."""
    return (1.0, math.log(text.order5), math.log(text.xz / text.order5), math.log(size.bytes_seen / 1e7),
            math.log1p(size.bytes_seen / size.bytes_unique), math.log(size.bytes_seen / size.tokens),
            math.log(size.parameters / 1e6))


def predict(text: Statistics, size: Size) -> Prediction:
    """Before step 0."""
    features = prior_features(text, size)
    return interval(dot(PRIOR, features), PRIOR_SIGMA, features)


def curve_features(curve: Curve, prior: Prediction) -> tuple[float, ...]:
    """Of a run on its way: the loss so far, and what was known before."""
    return (1.0, math.log(curve.val_bits_per_byte), math.log(prior.bits_per_byte), prior.features[3])


def predict_from_curve(curve: Curve, prior: Prediction) -> Prediction:
    """At a fraction of the run that constants exist for (0.1 and 0.25)."""
    return interval(dot(CURVE[curve.fraction], curve_features(curve, prior)), CURVE_SIGMA[curve.fraction],
                    prior.features)


def interval(log_bits: float, sigma: float, features: tuple[float, ...]) -> Prediction:
    """exp of the log prediction, and its 80 % interval."""
    return Prediction(bits_per_byte=math.exp(log_bits), low=math.exp(log_bits - Z80 * sigma),
                      high=math.exp(log_bits + Z80 * sigma), features=features)


def dot(weights: tuple[float, ...], features: tuple[float, ...]) -> float:
    """Weighted sum; the constants must fit the features."""
    return sum(w * f for w, f in zip(weights, features, strict=True))
