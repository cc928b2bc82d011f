"""Tokenizing: text <-> token ids, over the `tokenizers` library."""
