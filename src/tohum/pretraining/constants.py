"""Constants of the predictor; printed by `python -m benchmarks.fit_predictor`, pasted here."""

PRIOR = (0.0, 1.0, 0.0, -0.05, 0.0, 0.0, 0.0)
PRIOR_SIGMA = 0.06
CURVE = {0.1: (-0.3, 0.5, 0.5, 0.0), 0.25: (-0.2, 0.7, 0.3, 0.0)}
CURVE_SIGMA = {0.1: 0.05, 0.25: 0.03}
