"""Generation: prompts -> new ids and text, one row as in a batch, with or without the cache."""
