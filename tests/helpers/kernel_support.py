"""Kernels that not every processor and PyTorch has."""

import pytest
import torch

from latadj.benchmark.kernel_selection import kernels


def needs(precision: str, *wanted: str) -> None:
    """Skip a test where a precision does not run by the kernels that are wanted."""
    lacks = set(wanted) - set(kernels(precision, torch.device("cpu")))
    if lacks:
        pytest.skip(f"this torch has no {precision} by {', '.join(lacks)} on this processor")
