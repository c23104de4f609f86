"""What the pages say of users, items and versions, and what they say when there is nothing to show."""

import re
from datetime import UTC, datetime
from urllib.parse import quote

import numpy as np
import pyarrow as pa
import pytest

import feature_store
from recsys_text.service.explore import data
from recsys_text.service.explore.pages import render
from recsys_text.service.views import Served, Views
from tests.service.explore import shelf
from tests.service.explore.reading import Page, until

HOSTILE = quote(shelf.HOSTILE_ID, safe="")
PATHS = (
    "/explore",
    "/explore/",
    "/explore/user?id=ann",
    "/explore/user?id=bob",
    "/explore/user?id=carl",
    "/explore/user?id=zed",
    f"/explore/user?id={HOSTILE}",
    "/explore/item?id=dune",
    f"/explore/item?id={HOSTILE}",
    "/explore/item?id=none",
    "/explore/items?q=darkness",
    "/explore/items?q=%3Cscript%3E",
    "/explore/versions",
    "/explore/nowhere",
    "/explore/user?id=",
    "/explore/user",
    "/explore/user?id=a%00b",
    f"/explore/user?id={'x' * 257}",
    "/explore/items?q=%ff%fe",
)


def test_a_known_user_gets_the_stored_items_with_the_clicks_that_speak_for_them(folder, explorer):
    shelf.publish(folder, "v1")
    with explorer() as client:
        page = Page(client.get("/explore/user?id=ann").text)
    rows = page.rows
    assert rows[0] == ["1", "The left hand of darkness hand", "science fiction", "0.7500", "2.00", "stored", rows[0][6]]
    # cos((0.9, 0.1), (1, 0)) and cos((0.9, 0.1), (0, 1))
    assert rows[0][6] == "like Dune 0.99, Emma 0.11"
    assert rows[3][1:6] == ["gone not in item_vectors", "", "0.1250", "0.25", "stored"]
    assert [row[1] for row in rows[4:]] == ["Dune dune", "Emma emma"]  # the newest click first
    assert page.links["The left hand of darkness"] == "/explore/item?id=hand"
    assert "log odds" not in page.text


def test_a_user_without_stored_scores_is_matched_and_gets_the_parts_of_the_score(folder, explorer):
    shelf.publish(folder, "v1")
    with explorer() as client:
        answer = client.get("/explore/user?id=carl")
    page = Page(answer.text)
    first = page.rows[0]
    # -1 + (0.1, 0.9) . (0, 2) + 0.5 * log(0.25 / 0.75) = 0.2507, whose sigmoid is 0.5623
    assert first == [
        "1",
        "Pride and prejudice pride",
        "classics",
        "0.5623",
        "1.80",
        "match",
        "like Emma 0.99 log odds: level −1.00, interest +1.80, popular −0.55",
    ]
    assert answer.status_code == 200
    assert [row[1] for row in page.rows].count("Emma emma") == 1, "in the history, and no candidate"


def test_an_unknown_user_is_said_to_be_one_and_gets_the_popular_items(folder, explorer):
    shelf.publish(folder, "v1")
    with explorer() as client:
        answer = client.get("/explore/user?id=zed")
    page = Page(answer.text)
    assert answer.status_code == 404
    assert "No user ‘zed’ in version v1" in page.text
    assert [(row[1], row[3], row[5]) for row in page.rows][:2] == [
        ("Dune dune", "0.5000", "popular"),
        ("The left hand of darkness hand", "0.4000", "popular"),
    ]


def test_a_user_with_an_empty_list_is_told_from_an_unknown_one(folder, explorer):
    shelf.publish(folder, "v1")
    with explorer() as client:
        answer = client.get("/explore/user?id=bob")
    assert answer.status_code == 200
    assert "The list of this user is empty" in Page(answer.text).text


def test_an_item_has_its_popular_score_and_the_neighbours_that_were_published(folder, explorer):
    shelf.publish(folder, "v1", near=True)
    with explorer() as client:
        dune, emma = Page(client.get("/explore/item?id=dune").text), Page(client.get("/explore/item?id=emma").text)
    assert "Item id dune Category science fiction Popular score 0.5000 Neighbours" in dune.text
    assert [row[1] for row in dune.rows] == ["Emma emma", "gone not in item_vectors"]
    assert dune.links["Emma"] == "/explore/item?id=emma"
    assert "the version names none for this item" in emma.text


def test_without_published_neighbours_the_nearest_by_cosine_are_shown(folder, explorer):
    shelf.publish(folder, "v1")
    with explorer() as client:
        dune, old = Page(client.get("/explore/item?id=dune").text), Page(client.get("/explore/item?id=old").text)
    rows = dune.rows
    assert [(row[1].split()[-1], row[3]) for row in rows if row[1].split()[-1] in ("hand", "three", "pride")] == [
        ("hand", "0.9939"),  # 0.9 / sqrt(0.82)
        ("three", "0.9363"),  # 0.8 / sqrt(0.73)
        ("pride", "0.1104"),  # 0.1 / sqrt(0.82)
    ]
    assert len(rows) == 4, "neither itself nor what points away"
    assert "no vector has a cosine above 0" in old.text
    assert "not in the pool of candidates" in old.text


@pytest.mark.parametrize(
    ("text", "found"),
    [
        ("darkness", ["The left hand of darkness hand", "The darkness before Emma old"]),
        ("DARKNESS  emma", ["The darkness before Emma old"]),
        ("emma", ["Emma emma", "The darkness before Emma old"]),
        ("dune", ["Dune dune"]),
        ("三", ["三体 three"]),
        ("nothing like it", []),
    ],
)
def test_items_are_found_by_id_and_by_words_of_their_title(folder, explorer, text, found):
    shelf.publish(folder, "v1")
    with explorer() as client:
        page = Page(client.get("/explore/items", params={"q": text}).text)
    assert [row[1] for row in page.rows] == found


def test_every_page_names_the_version_and_its_age_and_keeps_the_rules(folder, explorer):
    shelf.publish(folder, "v1", hours=3)
    with explorer() as client:
        for path in PATHS:
            answer = client.get(path)
            assert answer.status_code in (200, 404, 422), path
            page = Page(answer.text)
            assert re.search(r"Serving v1 ?, as of \d{4}-\d\d-\d\d \d\d:\d\d UTC ?, 3 h \d min old", page.text), path
            assert answer.headers.get_list("X-Scores-Version") == ["v1"]
            assert not {"script", "img", "b"} & page.tags, path
            assert len(answer.content) < 20_000
            policy = answer.headers["Content-Security-Policy"]
            assert "default-src 'none'" in policy
            assert "unsafe" not in policy
            assert answer.headers["Cache-Control"] == "no-store"


def test_a_page_names_the_version_that_it_was_made_from_though_another_is_served_by_now():
    made_from = Served(version="v1", as_of=datetime(2026, 1, 1, tzinfo=UTC))
    texts = {"heading": "Not found", "text": "No such item.", "problem": None, "has_token": False}
    assert render("message.html", served=made_from, **texts).headers["X-Scores-Version"] == "v1"


def test_a_large_store_gives_no_large_page(folder, explorer):
    """Lists are cut, and so are the titles in them."""
    store = feature_store.open_store(f"file:{folder}")
    ids = [f"item-{number:05}" for number in range(6000)]
    columns = {
        "item_id": pa.array(ids),
        "vector": shelf.vectors(np.random.default_rng(1).normal(size=(6000, 2)).tolist()),
        "title": pa.array([f"{item} " + "long " * 400 for item in ids]),
        "category": pa.array(["one"] * 6000),
        "popular": pa.array(np.linspace(0.9, 0.1, 6000), pa.float32()),
    }
    scores = {
        "user_id": pa.array([f"user-{number}" for number in range(300)]),
        "item_id": pa.array([ids[:100]] * 300, pa.list_(pa.string())),
        "score": pa.array([[0.5] * 100] * 300, pa.list_(pa.float32())),
        "interest": pa.array([[0.5] * 100] * 300, pa.list_(pa.float32())),
    }
    for view, given in (("item_vectors", columns), ("user_scores", scores)):
        with store.begin(view, "v1").writer("part-0") as writer:
            writer.write(pa.record_batch(given))
        store.commit(view, "v1", expect_parts=["part-0"], metadata={})
    with explorer() as client:
        answers = [
            client.get(f"/explore{path}") for path in ("", "/user?id=user-1", "/item?id=item-00001", "/items?q=long")
        ]
    assert [answer.status_code for answer in answers] == [200] * 4
    assert max(len(answer.content) for answer in answers) < 50_000
    assert "The first 50 of 6,000 items" in answers[3].text
    assert "The best 20 of 100 items" in answers[1].text
    assert len(Page(answers[2].text).rows) == data.LENGTH


def test_the_nearest_are_the_nearest_of_all(folder):
    """In chunks and in one product they are the same."""
    vectors = np.random.default_rng(2).normal(size=(9000, 2))
    store = feature_store.open_store(f"file:{folder}")
    columns = {
        "item_id": [str(number) for number in range(9000)],
        "vector": shelf.vectors(vectors.tolist()),
        "title": [""] * 9000,
        "category": pa.array([None] * 9000, pa.string()),
        "popular": pa.array([None] * 9000, pa.float32()),
    }
    with store.begin("item_vectors", "v1").writer("part-0") as writer:
        writer.write(pa.record_batch(columns))
    store.commit("item_vectors", "v1", expect_parts=["part-0"], metadata={})
    shelf.publish_scores(folder, "v1")
    views = Views(f"file:{folder}")
    views.refresh()
    items = views.pinned().items
    assert items is not None
    shown = data.item(items, "8500")
    assert shown is not None
    kept = vectors.astype(np.float16).astype(np.float32)
    cosine = kept @ kept[8500] / np.linalg.norm(kept, axis=1) / np.linalg.norm(kept[8500])
    cosine[8500] = -1
    expected = np.sort(cosine)[::-1][: data.LENGTH]
    np.testing.assert_allclose([line.likeness for line in shown.near], expected, rtol=1e-5)
    assert all(line.title == line.item_id for line in shown.near), "an item without a title goes by its id"


def test_scores_alone_are_shown_without_titles(folder, explorer):
    shelf.publish_scores(folder, "v1")
    with explorer() as client:
        user, unknown = client.get("/explore/user?id=ann"), client.get("/explore/user?id=zed")
        item, items = client.get("/explore/item?id=dune"), client.get("/explore/items?q=dune")
        home = client.get("/explore")
    assert "hand not in item_vectors" in Page(user.text).text
    assert unknown.status_code == 404
    assert "There are no popular items to show" in Page(unknown.text).text
    assert (item.status_code, items.status_code) == (404, 404)
    assert "the store has no view item_vectors" in Page(home.text).text


def test_without_a_version_every_page_says_so_and_the_way_out(folder, explorer):
    with explorer() as client:
        answers = {path: client.get(path) for path in PATHS}
        home, versions = Page(answers["/explore"].text), Page(answers["/explore/versions"].text)
    assert {answer.status_code for answer in answers.values()} == {200, 404, 422}
    assert answers["/explore/user?id=ann"].status_code == 404
    assert "No scores are served: view 'user_scores' has no published version" in home.text
    assert "recsys-text publish" in home.text
    assert "No version is published." in versions.text
    assert all("Serving nothing" in Page(answer.text).text for answer in answers.values())


def test_a_store_out_of_reach_is_said_and_no_page_fails(folder, explorer):
    folder.write_text("a file where a folder is expected")
    with explorer() as client:
        answers = {path: client.get(path) for path in PATHS}
    assert {answer.status_code for answer in answers.values()} == {200, 404, 422}
    assert "Not a directory" in Page(answers["/explore"].text).text
    assert "Not a directory" in Page(answers["/explore/versions"].text).text


def test_what_the_store_cannot_give_is_said(folder, explorer):
    shelf.publish(folder, "v1")
    broken = {
        "user_id": ["ann"],
        "vector": pa.array([[1.0, None]], pa.list_(pa.float16(), 2)),
        "history": pa.array([["dune"]], pa.list_(pa.string())),
    }
    store = feature_store.open_store(f"file:{folder}")
    with store.begin("user_vectors", "v2").writer("part-0") as writer:
        writer.write(pa.record_batch(broken))
    store.commit("user_vectors", "v2", expect_parts=["part-0"], metadata={"model_version": "7"})
    with explorer() as client:
        answer = client.get("/explore/user?id=ann")
        assert answer.status_code == 404
        assert "The store cannot be read: " in Page(answer.text).text
        assert client.get("/explore/item?id=dune").status_code == 200


def test_a_newer_state_that_is_refused_is_named_on_every_page(folder, explorer):
    shelf.publish(folder, "v1")
    with explorer() as client:
        assert "not served:" not in Page(client.get("/explore").text).text
        (folder / "user_scores" / "CURRENT").write_text("v2 damaged\n")
        until(lambda: client.get("/ready").json()["reason"] is not None)
        pages = [Page(client.get(path).text) for path in ("/explore", "/explore/user?id=ann", "/explore/versions")]
    assert all("A newer state of the store is not served: " in page.text for page in pages)
    assert all("CURRENT is damaged" in page.text for page in pages)
