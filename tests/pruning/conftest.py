"""Fixtures of the tests of pruning."""

import pytest
from helpers.tiny_models import NARROWABLE, Case


@pytest.fixture(params=[case for case in NARROWABLE if case.head == "classifier"], ids=str)
def classifier(request: pytest.FixtureRequest) -> Case:
    """A classifier of every architecture that can be pruned."""
    return request.param
