"""Attention: vectors (B, T, D) -> context vectors (B, T, D); explicit and fused, masks, key/value cache."""
