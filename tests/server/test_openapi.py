"""No answer that the OpenAPI document does not name, and none of 5xx, whatever is asked."""

import pytest
from hypothesis import HealthCheck, given, settings

schemathesis = pytest.importorskip("schemathesis")
from schemathesis.specs.openapi.checks import positive_data_acceptance  # noqa: E402

PATHS = {
    **{path: ["POST"] for path in ("/predict", "/rerank", "/embed", "/v1/embeddings")},
    **{path: ["GET"] for path in ("/info", "/health", "/metrics")},
}


@pytest.fixture(scope="module")
def api(server):
    return schemathesis.openapi.from_url(f"{server.url}/openapi.json")


def test_these_are_all(api):
    assert {path: [method.upper() for method in methods] for path, methods in api.raw_schema["paths"].items()} == PATHS


@pytest.mark.parametrize("path", PATHS)
def test_every_answer_is_documented(api, path):
    (method,) = PATHS[path]

    @given(case=api[path][method].as_strategy())
    @settings(max_examples=40, deadline=None, derandomize=True, suppress_health_check=list(HealthCheck))
    def check(case):
        # A schema cannot say that a text must not be empty, or may be too long for the model.
        case.call_and_validate(timeout=30, excluded_checks=[positive_data_acceptance])

    check()
