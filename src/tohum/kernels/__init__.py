"""Kernels: C for decoding steps, for training steps and for learning merges, compiled here when first needed."""
