"""Evaluation: a network and text -> loss, perplexity, bits per byte; byte models and overlap to compare with."""
