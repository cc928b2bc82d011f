"""Kernels: C for the few tokens of a decoding step and for learning merges, compiled here when first needed."""
