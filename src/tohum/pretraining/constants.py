"""Constants of the predictor; printed by `python -m benchmarks.fit_predictor`, pasted here."""

PRIOR = (0.09631, 0.99114, -0.11125, -0.05274)
PRIOR_WIDTH = 0.0634
CURVE = {0.1: (0.05857, -0.91754, -0.10091, -0.04764), 0.25: (0.02634, -0.52561, -0.05704, -0.03383, -0.43906)}
CURVE_WIDTH = {0.1: 0.0666, 0.25: 0.0506}
