"""Fine-tuning, what its three stages share: a model and examples -> a tuned model or an adapter, by the one loop."""
