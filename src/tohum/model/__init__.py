"""Architecture: embeddings, blocks, norm and head -> logits; one network built from a list of layer specs."""
