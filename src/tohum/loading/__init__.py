"""Loading: model folders and foreign files -> configuration, weights, tokenizer; and back."""
