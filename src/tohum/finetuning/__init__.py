"""Fine-tuning: what classification, instructions and preferences share."""
