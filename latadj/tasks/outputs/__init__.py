"""Outputs of a model: how they are read, compared and turned into predictions."""
