"""Constants of the predictor; printed by `python -m benchmarks.fit_predictor`, pasted here."""

PRIOR = (0.01431, 0.88222, 0.02015, -0.11233, 0.07617, -0.24188, 0.15163)
PRIOR_SIGMA = 0.0548
CURVE = {0.1: (-0.13036, 0.22768, 0.8974, 0.01684), 0.25: (-0.13359, 0.34491, 0.78697, -0.00188)}
CURVE_SIGMA = {0.1: 0.0967, 0.25: 0.0823}
