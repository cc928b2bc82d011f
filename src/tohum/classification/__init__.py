"""Stage 7.1, classification: labelled rows -> a network that gives every class its probability."""
