"""What is asked of a model: examples, encoding, batches, metric."""
