"""Constants of the predictor; printed by `python -m benchmarks.fit_predictor`, pasted here."""

PRIOR = (0.13802, 0.9203, -0.11057, -0.05658)
PRIOR_WIDTH = 0.0556
CURVE = {0.1: (0.02311, -0.84459, -0.09438, -0.04639), 0.25: (-0.00241, -0.49256, -0.05518, -0.03555, -0.34215)}
CURVE_WIDTH = {0.1: 0.0582, 0.25: 0.039}
