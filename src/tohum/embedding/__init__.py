"""Embeddings: token ids (B, T) -> vectors (B, T, D); positions learned-absolute or rotary."""
