"""What the OpenAPI document promises, tried with whatever Schemathesis makes of it, and with what nobody promised."""

import httpx
import pytest
import schemathesis
from hypothesis import HealthCheck, Phase, given, seed, settings
from schemathesis import GenerationMode
from schemathesis.checks import not_a_server_error
from schemathesis.specs.openapi.checks import (
    content_type_conformance,
    response_headers_conformance,
    response_schema_conformance,
    status_code_conformance,
)

from tests.service.test_experiments import EXPERIMENTS

TOKEN = {"Authorization": "Bearer secret"}
CHECKS = [
    not_a_server_error,
    status_code_conformance,
    content_type_conformance,
    response_headers_conformance,
    response_schema_conformance,
]
ASKED = ["/users/{user_id}/items", "/rank", "/rank/batch"]
UNASKED = ["/health", "/ready", "/metrics"]
CASES = [
    *((path, mode) for path in ASKED for mode in (GenerationMode.POSITIVE, GenerationMode.NEGATIVE)),
    *((path, GenerationMode.POSITIVE) for path in UNASKED),
]


@pytest.fixture
def url(publish_all, serving):
    publish_all()
    with serving(token="secret", max_candidates=20, experiments=EXPERIMENTS) as url:
        yield url


def operation_of(url, path):
    document = schemathesis.openapi.from_url(f"{url}/openapi.json", headers=TOKEN)
    (operation,) = [result.ok() for result in document.get_all_operations() if result.ok().path == path]
    return operation


@pytest.mark.parametrize(("path", "mode"), CASES)
def test_the_service_answers_as_its_openapi_says(url, path, mode):
    operation = operation_of(url, path)
    statuses = set()

    @seed(7)
    @settings(max_examples=40, deadline=None, database=None, phases=[Phase.generate], suppress_health_check=HealthCheck)
    @given(case=operation.as_strategy(generation_mode=mode))
    def answers(case):
        response = case.call(headers=TOKEN)
        case.validate_response(response, checks=CHECKS, headers=TOKEN)
        statuses.add(response.status_code)
        stranger = case.call(headers={"Authorization": "Bearer other"})
        assert stranger.status_code == (response.status_code if path == "/health" else 401)

    answers()
    assert statuses
    if mode is GenerationMode.POSITIVE and path not in {"/users/{user_id}/items", "/rank/batch"}:
        assert 200 in statuses


def test_every_operation_is_tried(url):
    assert list(httpx.get(f"{url}/openapi.json", headers=TOKEN).json()["paths"]) == ASKED + UNASKED


RICH = {"user_id": "ann", "candidates": ["i1", "new", "nothing"], "explain": True, "experiment": "variety"}
BODIES = [
    ("/rank", RICH),
    ("/rank", RICH | {"user_id": "nobody"}),
    ("/rank", RICH | {"diversity": 0.5, "k": 2, "categories": ["news"], "exclude": ["i1"], "seen": True}),
    ("/rank/batch", {"requests": [RICH, RICH | {"user_id": "nobody"}]}),
]


@pytest.mark.parametrize(("path", "body"), BODIES)
def test_answers_about_what_is_published_fit_their_schema(url, path, body):
    case = operation_of(url, path).Case(body=body, media_type="application/json")
    response = case.call(headers=TOKEN)
    assert response.status_code == 200
    case.validate_response(response, checks=CHECKS, headers=TOKEN)


@pytest.mark.parametrize(("user", "query"), [("ann", {}), ("bob", {"k": 3}), ("nobody", {"fallback": "popular"})])
def test_items_of_known_and_unknown_users_fit_their_schema(url, user, query):
    case = operation_of(url, ASKED[0]).Case(path_parameters={"user_id": user}, query=query)
    response = case.call(headers=TOKEN)
    assert response.status_code == 200
    case.validate_response(response, checks=CHECKS, headers=TOKEN)
