"""Training: batches and an objective -> weights, by the one loop, exactly resumable."""
