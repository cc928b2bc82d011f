"""Predicted bits per byte: text statistics, model size and tokens -> a value with an 80 % interval.

A linear model of logarithms, fitted by `python -m benchmarks.fit_predictor` on runs over corpora of their own
(benchmarks/results/calibration.json). Before the run it knows how hard the text is (bits per byte of a byte model of
order 5), how much of it the run will see, and the size of the model; on the way it also knows the validation loss
so far.
"""

import math
from dataclasses import dataclass, field

from tohum.pretraining.constants import CURVE, CURVE_WIDTH, PRIOR, PRIOR_WIDTH
from tohum.pretraining.corpus import Statistics

REPEATS_WORTH = 3.0  # epochs of fresh text that endless repeats are worth; models as small as these forget little


@dataclass(frozen=True, kw_only=True)
class Size:
    """What a run is, in numbers."""

    parameters: int
    bytes_seen: float  # in training, repeats included
    bytes_unique: float  # of training text

    @property
    def effective_bytes(self) -> float:
        """What was seen in fresh text's worth: each further epoch counts less (arXiv:2305.16264, section 6).

        For 1 MB: one epoch 1 MB, two 1.85 MB, four 2.9 MB, ever so many 4 MB.
        """
        epochs = self.bytes_seen / self.bytes_unique
        worth = epochs if epochs <= 1 else 1 + REPEATS_WORTH * (1 - math.exp((1 - epochs) / REPEATS_WORTH))
        return self.bytes_unique * worth


@dataclass(frozen=True, kw_only=True)
class Prediction:
    """Bits per byte of the validation text at the end of the run; low … high holds it in 8 of 10 runs."""

    bits_per_byte: float
    low: float
    high: float
    features: tuple[float, ...] = field(default=(), repr=False)


@dataclass(frozen=True, kw_only=True)
class Curve:
    """The run so far: validation bits per byte at `fraction` of it, and at the fraction before that
    (pretraining/forecast.py)."""

    fraction: float
    now: float
    before: float | None = None


def prior_features(text: Statistics, size: Size) -> tuple[float, ...]:
    """Of a run before step 0: how hard the text is, how much of it is read, by how large a model."""
    return 1.0, math.log(text.order5), math.log(size.effective_bytes / 1e6), math.log(size.parameters / 1e6)


def predict(text: Statistics, size: Size) -> Prediction:
    """Before step 0."""
    features = prior_features(text, size)
    return interval(dot(PRIOR, features), PRIOR_WIDTH, features)


def curve_features(curve: Curve, prior: tuple[float, ...]) -> tuple[float, ...]:
    """Of a run on its way: where it stands above the byte model, what it is, how fast it has come down."""
    _, order5, seen, parameters = prior
    falling = () if curve.before is None else (math.log(curve.before / curve.now),)
    return 1.0, math.log(curve.now) - order5, seen, parameters, *falling


def predict_from_curve(curve: Curve, prior: Prediction) -> Prediction:
    """At a fraction of the run that constants exist for: 0.1, and 0.25 with what was seen at 0.1."""
    left = dot(CURVE[curve.fraction], curve_features(curve, prior.features))
    return interval(math.log(curve.now) + left, CURVE_WIDTH[curve.fraction], prior.features)


def interval(log_bits: float, width: float, features: tuple[float, ...]) -> Prediction:
    """exp of the log prediction, and its 80 % interval: ± `width` held 8 of 10 runs over texts left out of the fit."""
    return Prediction(bits_per_byte=math.exp(log_bits), low=math.exp(log_bits - width),
                      high=math.exp(log_bits + width), features=features)


def dot(weights: tuple[float, ...], features: tuple[float, ...]) -> float:
    """Weighted sum; the constants must fit the features."""
    return sum(w * f for w, f in zip(weights, features, strict=True))
