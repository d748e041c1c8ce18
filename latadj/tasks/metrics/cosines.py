"""Cosines of embeddings. Needs no torch."""

import numpy as np


def cosines(one: np.ndarray, other: np.ndarray) -> np.ndarray:
    """Cosine of each row with the same row of another array: twice (n, dimensions) to (n,) float64."""
    return (unit(one) * unit(other)).sum(axis=1)


def unit(vectors: np.ndarray) -> np.ndarray:
    """(n, dimensions) as float64 of length 1; zeros stay."""
    vectors = vectors.astype(np.float64)
    return vectors / np.maximum(np.linalg.norm(vectors, axis=1, keepdims=True), 1e-12)
