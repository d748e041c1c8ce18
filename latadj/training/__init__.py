"""Fine-tuning on transformers' Trainer: plain, and adjustable along a dial."""
