"""Constants of the predictor; printed by `python -m benchmarks.fit_predictor`, pasted here."""

PRIOR = (0.08516, 1.00998, -0.1175, -0.05338)
PRIOR_WIDTH = 0.0736
CURVE = {0.1: (0.06294, -0.92564, -0.10941, -0.04922), 0.25: (0.03047, -0.61616, -0.07538, -0.03813, -0.29716)}
CURVE_WIDTH = {0.1: 0.0731, 0.25: 0.0621}
