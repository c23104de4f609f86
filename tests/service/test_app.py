"""The routes of the ranking service, asked over HTTP of a real server on a real store."""

import json
import time
from datetime import UTC, datetime, timedelta

import httpx
import pyarrow as pa
import pytest

from tests.service.conftest import SCHEMA, commit

AS_OF = datetime.now(UTC).replace(microsecond=0) - timedelta(hours=2)


def test_gives_the_best_items_with_version_and_age(publish, serving):
    publish("v1", as_of=AS_OF)
    with serving() as url:
        answer = httpx.get(f"{url}/users/ann/items", params={"k": 2})
    body = answer.json()
    assert answer.status_code == 200
    assert body["items"] == [
        {"item_id": "i1", "score": 0.75, "interest": 2.0},
        {"item_id": "i2", "score": 0.5, "interest": -1.0},
    ]
    assert (body["user_id"], body["version"], body["known"]) == ("ann", "v1", True)
    assert datetime.fromisoformat(body["as_of"]) == AS_OF
    assert body["age_seconds"] >= 7200


def test_an_unknown_user_is_not_a_user_with_an_empty_list(publish, serving):
    publish("v1")
    with serving() as url:
        empty = httpx.get(f"{url}/users/bob/items")
        unknown = httpx.get(f"{url}/users/carl/items")
    assert (empty.status_code, empty.json()["known"], empty.json()["items"]) == (200, True, [])
    assert (unknown.status_code, unknown.json()["known"], unknown.json()["items"]) == (404, False, [])
    assert unknown.json()["detail"] == "no user 'carl' in version 'v1' of the scores"
    assert unknown.json()["version"] == "v1"
    assert unknown.json()["age_seconds"] > 0


def test_ranks_candidates_by_stored_score_and_the_others_after_them_as_they_came(publish, serving):
    publish("v1")
    with serving() as url:
        known = httpx.post(f"{url}/rank", json={"user_id": "ann", "candidates": ["x", "i3", "y", "i1"]}).json()
        unknown = httpx.post(f"{url}/rank", json={"user_id": "carl", "candidates": ["i3", "i1"]}).json()
        nothing = httpx.post(f"{url}/rank", json={"user_id": "ann", "candidates": []}).json()
    assert [(item["item_id"], item["score"]) for item in known["items"]] == [
        ("i1", 0.75),
        ("i3", 0.25),
        ("x", None),
        ("y", None),
    ]
    assert known["known"]
    assert known["version"] == "v1"
    assert known["items"][2]["interest"] is None
    assert not unknown["known"]
    assert [item["item_id"] for item in unknown["items"]] == ["i3", "i1"]
    assert nothing["items"] == []


ANSWERS = [
    ("GET", "/users/ann/items", None, 200),
    ("GET", "/users/carl/items", None, 404),
    ("GET", "/users/ann/items?k=0", None, 422),
    ("GET", "/nowhere", None, 404),
    ("DELETE", "/rank", None, 405),
    ("POST", "/rank", b'{"user_id": "ann", "candidates": []}', 200),
    ("POST", "/rank/batch", b'{"requests": [{"user_id": "ann", "candidates": []}]}', 200),
    ("POST", "/rank", b'"\xff"', 400),
    ("POST", "/rank", b"x" * 100_000, 413),
    ("GET", "/health", None, 200),
    ("GET", "/ready", None, 200),
    ("GET", "/metrics", None, 200),
]


def test_every_answer_names_the_version_and_its_age(publish, serving):
    publish("v1", as_of=AS_OF)
    headers = {"Content-Type": "application/json"}
    with serving(max_candidates=10) as url, httpx.Client(base_url=url, headers=headers) as client:
        for method, path, body, status in ANSWERS:
            answer = client.request(method, path, content=body)
            assert (path, answer.status_code) == (path, status)
            assert answer.headers.get_list("X-Scores-Version") == ["v1"]
            assert int(answer.headers["X-Scores-Age"]) >= 7200


def test_starts_without_a_store_and_is_ready_once_a_version_is_published(publish, serving, folder):
    with serving() as url:
        before = httpx.get(f"{url}/ready")
        refused = httpx.get(f"{url}/users/ann/items")
        alive = httpx.get(f"{url}/health")
        publish("v1")
        after = _until_ready(url)
    assert before.status_code == refused.status_code == 503
    assert not before.json()["ready"]
    assert "user_scores" in before.json()["reason"]
    assert refused.json()["detail"] == before.json()["reason"]
    assert "\n" not in before.json()["reason"]
    assert "X-Scores-Version" not in before.headers
    assert (alive.status_code, alive.json()) == (200, {"status": "alive"})
    assert after.json()["ready"]
    assert after.json()["version"] == "v1"
    assert after.json()["reason"] is None


def test_a_store_of_the_wrong_kind_is_reported_and_not_fatal(serving, folder):
    folder.write_text("a file where a folder is expected")
    with serving() as url:
        answer = httpx.get(f"{url}/ready")
        metrics = httpx.get(f"{url}/metrics").text
    assert answer.status_code == 503
    assert answer.json()["reason"]
    assert "recsys_text_reader_errors_total 1.0" in metrics
    assert "recsys_text_scores_info{" not in metrics


def test_metrics_count_requests_by_route_and_status_and_show_the_version(publish, serving):
    publish("v1", as_of=AS_OF)
    with serving() as url:
        for user in ("ann", "bob", "carl", "dora"):
            httpx.get(f"{url}/users/{user}/items")
        httpx.get(f"{url}/users/ann/items?k=0")
        httpx.get(f"{url}/no/such/{user}")
        text = httpx.get(f"{url}/metrics").text
    samples = dict(line.rsplit(" ", 1) for line in text.splitlines() if not line.startswith("#"))
    count = "recsys_text_request_seconds_count"
    assert samples[f'{count}{{route="/users/{{user_id}}/items",status="200"}}'] == "2.0"
    assert samples[f'{count}{{route="/users/{{user_id}}/items",status="404"}}'] == "2.0"
    assert samples[f'{count}{{route="/users/{{user_id}}/items",status="422"}}'] == "1.0"
    assert samples[f'{count}{{route="unmatched",status="404"}}'] == "1.0"
    assert samples['recsys_text_scores_info{version="v1"}'] == "1.0"
    assert float(samples["recsys_text_scores_age_seconds"]) >= 7200
    assert samples["recsys_text_reader_errors_total"] == "0.0"
    assert "dora" not in text


def test_openapi_has_examples_and_names_the_bounds(serving):
    with serving(max_k=50, max_candidates=70) as url:
        document = httpx.get(f"{url}/openapi.json").json()
    paths, schemas = document["paths"], document["components"]["schemas"]
    assert set(paths) == {"/users/{user_id}/items", "/rank", "/rank/batch", "/health", "/ready", "/metrics"}
    user_id, k, fallback = paths["/users/{user_id}/items"]["get"]["parameters"]
    assert user_id["schema"]["maxLength"] == 256
    assert k["schema"]["maximum"] == 50
    assert all(parameter["schema"]["examples"] for parameter in (user_id, k, fallback))
    body = paths["/rank"]["post"]["requestBody"]["content"]["application/json"]["schema"]["$ref"].rsplit("/", 1)[-1]
    assert schemas[body]["properties"]["candidates"]["maxItems"] == 70
    assert schemas[body]["properties"]["exclude"]["maxItems"] == 70
    batch = paths["/rank/batch"]["post"]["requestBody"]["content"]["application/json"]["schema"]["$ref"]
    assert schemas[batch.rsplit("/", 1)[-1]]["properties"]["requests"]["maxItems"] == 70
    for name, schema in schemas.items():
        for key, field in schema.get("properties", {}).items():
            # What refers to another schema shows the examples of that one.
            assert "$ref" in json.dumps(field) or field["examples"], (name, key)


def _until_ready(url: str) -> httpx.Response:
    with httpx.Client() as client:
        for _ in range(200):
            answer = client.get(f"{url}/ready")
            if answer.status_code == 200:
                return answer
            time.sleep(0.05)
    pytest.fail(f"still not ready: {answer.text}")


def test_lists_that_are_not_equally_long_are_no_scores(folder, serving):
    batch = pa.record_batch([["ann"], [["i1", "i2"]], [[0.5]], [[1.0, 2.0]]], schema=SCHEMA)
    commit(folder, "user_scores", "v1", batch, {})
    with serving() as url:
        answers = [httpx.get(f"{url}/users/ann/items")]
        answers.append(httpx.post(f"{url}/rank", json={"user_id": "ann", "candidates": ["i1"]}))
    for answer in answers:
        assert answer.status_code == 503
        assert "lists of 2, 1, 2 values" in answer.json()["detail"]
