"""Top-k attention: each query attends to its top-k keys."""
