"""Kernels: C for the few tokens of a decoding step, compiled on this machine when it is first needed."""
