"""Rankings of any candidates, asked over HTTP of a real server on a store with all three views."""

import math

import httpx
import pyarrow as pa
import pytest

from recsys_text.errors import ConfigError
from recsys_text.service.client import RankingClient, RankRequest
from tests.service.conftest import ITEMS, MATCH, READERS, USER_SCHEMA, WIDTH, commit

LOWEST = min(popular for _, _, popular in ITEMS.values() if popular is not None)
ALL = ["none", "new", "i3", "still", "i1", "i2"]


def match(user: str, item: str) -> float:
    """The formula of the match, in plain Python."""
    vector, _, popular = ITEMS[item]
    odds = math.log((popular or LOWEST) / (1 - (popular or LOWEST)))
    product = sum(a * b for a, b in zip(READERS[user][0], vector, strict=True))
    return 1 / (1 + math.exp(-(MATCH["level"] + MATCH["interest"] * product + MATCH["popular"] * odds)))


@pytest.fixture
def client(publish_all, serving):
    publish_all()
    with serving() as url, RankingClient(url) as client:
        yield client


def ids(ranking):
    return [item.item_id for item in ranking.items]


def test_stored_scores_and_matches_are_sorted_together_and_the_unknown_come_last(client):
    ranking = client.rank("ann", ["gone", *ALL])
    by_id = {item.item_id: item for item in ranking.items}
    assert {item: by_id[item].source for item in by_id} == {
        "gone": "none",
        "none": "none",
        "new": "match",
        "still": "match",
        "i1": "stored",
        "i2": "stored",
        "i3": "stored",
    }
    assert by_id["new"].score == pytest.approx(match("ann", "new"), abs=1e-6)
    assert by_id["new"].interest == pytest.approx(2.5)
    assert by_id["still"].score == pytest.approx(match("ann", "still"), abs=1e-6)
    assert (by_id["i3"].score, by_id["i3"].interest) == (0.25, 3.0)
    scored = [item.score for item in ranking.items[:-2]]
    assert scored == sorted(scored, reverse=True)
    assert ids(ranking) == ["i1", "new", "still", "i2", "i3", "gone", "none"]
    assert ranking.known
    assert (ranking.experiment, ranking.arm, ranking.impression_id) == (None, None, None)


def test_a_user_with_a_vector_alone_is_known_and_matched(client):
    ranking = client.rank("vera", ["i1", "i3"])
    assert ranking.known
    assert [(item.item_id, item.source) for item in ranking.items] == [("i3", "match"), ("i1", "match")]


def test_an_unknown_user_gets_what_is_popular(client):
    ranking = client.rank("nobody", ALL)
    assert not ranking.known
    assert ids(ranking) == ["still", "i2", "i1", "new", "i3", "none"]
    assert [item.score for item in ranking.items] == [0.75, 0.5, 0.25, LOWEST, LOWEST, None]
    assert [item.source for item in ranking.items] == ["popular"] * 5 + ["none"]


def test_candidates_are_kept_and_cut_as_asked(client):
    assert ids(client.rank("ann", ALL, k=2)) == ["i1", "new"]
    assert ids(client.rank("ann", ALL, exclude=["new", "elsewhere"], k=2)) == ["i1", "still"]
    assert ids(client.rank("ann", ALL, categories=["sports"])) == ["new", "i3"]
    assert ids(client.rank("ann", ALL, categories=[])) == []
    assert set(ids(client.rank("ann", ALL, seen=True))) == {"none", "new", "still", "i1"}
    assert len(client.rank("nobody", ALL, seen=True).items) == len(ALL)
    with pytest.raises(ConfigError, match="422: candidates: 'i2' is among them twice"):
        client.rank("ann", ["i2", "i2", "i1"])


def test_diversity_moves_what_is_like_the_items_before_it(client):
    # new is much like i1, which is best.
    assert ids(client.rank("ann", ["i1", "new", "i2", "none"])) == ["i1", "new", "i2", "none"]
    diverse = client.rank("ann", ["i1", "new", "i2", "none"], diversity=0.7)
    assert ids(diverse) == ["i1", "i2", "new", "none"]
    assert ids(client.rank("ann", ["i1", "new", "i2", "none"], diversity=0.7, k=2)) == ["i1", "i2"]


def test_more_than_are_diversified_lose_nothing(publish_all, publish_items, serving):
    items = {f"n{number}": ([1, number % 3, 0, 0], None, 1 / (number + 2)) for number in range(230)}
    publish_items("v0", items)
    publish_all("v1")
    publish_items("v2", items)
    with serving() as url, RankingClient(url) as client:
        plain = ids(client.rank("nobody", list(items)[::-1]))
        diverse = ids(client.rank("nobody", list(items)[::-1], diversity=0.5))
    assert plain == list(items)
    assert sorted(diverse) == sorted(plain)
    assert diverse != plain
    assert diverse[200:] == plain[200:]


def test_an_explanation_names_the_likest_clicks_and_adds_up(client):
    ranking = client.rank("ann", ["new", "i3", "none"], explain=True)
    by_id = {item.item_id: item for item in ranking.items}
    new, stored, nothing = by_id["new"].explanation, by_id["i3"].explanation, by_id["none"].explanation
    assert [(like.item_id, like.title) for like in new.because] == [("i3", "Title of i3")]
    assert new.because[0].likeness == pytest.approx(1 / math.sqrt(5), abs=1e-3)
    total = new.parts.level + new.parts.interest + new.parts.popular
    assert 1 / (1 + math.exp(-total)) == pytest.approx(by_id["new"].score, abs=1e-6)
    assert new.parts.interest == pytest.approx(MATCH["interest"] * 2.5, abs=1e-3)
    assert (stored.because[0].item_id, stored.parts) == ("i3", None)
    assert (nothing.because, nothing.parts) == ((), None)
    assert client.rank("ann", ["new"]).items[0].explanation is None
    assert client.rank("nobody", ["new"], explain=True).items[0].explanation.because == ()


def test_no_more_than_three_clicks_speak_for_an_item(publish_all, publish_users, serving):
    publish_all("v1")
    publish_users("v2", {"ann": ([1, 0, 0, 0], ["i1", "i3", "i3", "new", "i1", "still"])})
    with serving() as url, RankingClient(url) as client:
        (item,) = client.rank("ann", ["new"], explain=True).items
    assert [like.item_id for like in item.explanation.because] == ["new", "i1", "i3"]


def test_a_batch_is_ranked_request_by_request(client):
    requests = [
        RankRequest(user_id="ann", candidates=ALL, k=3),
        RankRequest(user_id="nobody", candidates=["i1", "i2"]),
        RankRequest(user_id="ann", candidates=["new"], explain=True),
    ]
    alone = [
        client.rank("ann", ALL, k=3),
        client.rank("nobody", ["i1", "i2"]),
        client.rank("ann", ["new"], explain=True),
    ]
    together = client.rank_batch(requests)
    assert [ranking.items for ranking in together] == [ranking.items for ranking in alone]
    assert [ranking.user_id for ranking in together] == ["ann", "nobody", "ann"]


def test_a_batch_is_bounded(publish_all, serving):
    publish_all()
    good = {"user_id": "ann", "candidates": ["a", "b"]}
    with serving(max_candidates=5) as url, httpx.Client(base_url=url) as client:
        for requests, words in (
            ([], "requests: Value should have at least 1 item"),
            ([good] * 3, "the body: a batch may have 5 candidates, and this one has 6"),
            ([{**good, "candidates": []}] * 6, "requests: Value should have at most 5 items"),
            ([good, {**good, "user_id": ""}], "requests.1.user_id: String should have at least 1 character"),
        ):
            answer = client.post("/rank/batch", json={"requests": requests})
            assert (answer.status_code, answer.json()["detail"][: len(words)]) == (422, words)
        assert client.post("/rank/batch", json={"requests": [good] * 2}).status_code == 200


def test_numbers_in_answers_are_finite_whatever_is_stored(publish, publish_items, publish_users, serving):
    infinite, nan = math.inf, math.nan
    publish_items("v1", {"i1": ([infinite, 1, 0, 0], "a", nan), "i2": ([nan] * 4, "a", 0.5), "i3": ([1] * 4, "a", 1.0)})
    publish_users("v1", {"ann": ([1, -infinite, 60000, 60000], ["i1", "i2", "i3"])})
    publish("v1", {"ann": [("i3", nan, infinite), ("i4", infinite, 1.0), ("i5", 0.5, nan)]}, model="7")
    body = {"user_id": "ann", "candidates": ["i1", "i2", "i3", "i4", "i5"], "diversity": 0.5, "explain": True}
    with serving() as url, httpx.Client(base_url=url) as client:
        answers = [client.post("/rank", json=body), client.get("/users/ann/items")]
    for answer in answers:
        assert answer.status_code == 200
        assert not any(word in answer.text for word in ("NaN", "Infinity"))
    assert [item["item_id"] for item in answers[0].json()["items"]][-1] == "i4"


def test_items_fall_back_to_the_popular_where_asked(client, publish_all):
    assert client.get_items("nobody").items == ()
    popular = client.get_items("nobody", 2, fallback="popular")
    assert not popular.known
    assert [(item.item_id, item.score, item.interest) for item in popular.items] == [
        ("still", 0.75, None),
        ("i2", 0.5, None),
    ]
    assert len(client.get_items("nobody", 10, fallback="popular").items) == 4
    assert client.get_items("bob", fallback="popular").items == ()
    assert client.get_items("ann", 1, fallback="popular").items[0].item_id == "i1"


def test_without_vectors_there_is_no_fallback(publish, serving):
    publish("v1")
    with serving() as url:
        answer = httpx.get(f"{url}/users/nobody/items", params={"fallback": "popular"})
        ranking = httpx.post(f"{url}/rank", json={"user_id": "ann", "candidates": ["i1"], "diversity": 0.5})
        wrong = httpx.get(f"{url}/users/nobody/items", params={"fallback": "newest"})
    assert (answer.status_code, answer.json()["known"]) == (404, False)
    assert ranking.status_code == 200
    assert wrong.json()["detail"] == "fallback: Input should be 'popular', got 'newest'"


def test_what_the_store_cannot_give_is_unavailable_and_no_fault_of_ours(publish_all, folder, serving):
    publish_all()
    broken = pa.record_batch([["ann"], pa.array([[1, None, 0, 0]], pa.list_(pa.float16(), WIDTH)), [[]]], USER_SCHEMA)
    commit(folder, "user_vectors", "v2", broken, {"model_version": "7"})
    with serving() as url, httpx.Client(base_url=url) as client:
        answer = client.post("/rank", json={"user_id": "ann", "candidates": ["i1"]})
        assert (answer.status_code, answer.headers["Retry-After"]) == (503, "1")
        assert "\n" not in answer.json()["detail"]
        assert client.get("/users/ann/items").status_code == 200
