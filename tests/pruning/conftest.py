"""Fixtures of these tests: every model of the matrix."""

import pytest
from tiny import CASES, FAMILIES, Case


@pytest.fixture(params=CASES, ids=str)
def case(request):
    return request.param


@pytest.fixture(params=[Case(family, "classifier") for family in FAMILIES], ids=str)
def classifier(request):
    return request.param
