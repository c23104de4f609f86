"""The versions that a page lists, and the roll-back that it offers."""

import threading

import pytest

import feature_store
from feature_store.local.disk import locked
from tests.service.explore import shelf
from tests.service.explore.reading import Page, until

TOKEN = "secret-of-the-service"
BEARER = {"Authorization": f"Bearer {TOKEN}"}
VIEWS = ("user_scores", "item_vectors", "user_vectors")


def served(folder) -> list[str | None]:
    store = feature_store.open_store(f"file:{folder}")
    return [store.current(view) for view in VIEWS]


def states(page: Page) -> list[tuple[str, str]]:
    return [(row[0], row[-1]) for row in page.rows]


def roll_back(client, version: str, token: str = TOKEN, **headers: str):
    return client.post("/explore/versions", data={"version": version, "token": token}, headers=BEARER | headers)


def test_lists_every_version_of_the_three_views(folder, explorer):
    shelf.publish(folder, "v1", hours=50, model="6")
    shelf.publish(folder, "v2", hours=2)
    (folder / "user_vectors" / "v1" / "MANIFEST.json").write_text("{")
    with explorer(TOKEN) as client:
        page = Page(client.get("/explore/versions", headers=BEARER).text)
    newest, before = page.rows[:2]
    assert [newest[0], newest[1], newest[4], newest[5], newest[7]] == ["v2", "3", "2 h 0 min", "7", "served"]
    assert newest[2].endswith(" kB")
    assert [before[0], before[4], before[5], before[7]] == ["v1", "2 d 2 h", "6", ""]
    assert states(page)[2:5] == [("v2", "served"), ("v1", ""), ("v2", "served")]
    assert page.rows[5] == ["v1", "", "", "", "", "", "", "damaged"]
    assert "MANIFEST.json is not as it was written" in page.rows[6][0]


def test_a_version_that_its_commit_refused_is_listed_with_the_rule_and_not_offered(folder, explorer):
    shelf.publish(folder, "v1")
    with pytest.raises(feature_store.RefusedVersion):
        shelf.publish_scores(folder, "v2", checks=feature_store.Checks(min_ratio=2.0))
    with explorer(TOKEN) as client:
        page = Page(client.get("/explore/versions", headers=BEARER).text)
        assert roll_back(client, "v2").status_code == 409
    (row, problem) = next((row, page.rows[place + 1]) for place, row in enumerate(page.rows) if row[0] == "v2")
    assert (row[1], row[-1]) == ("3", "refused")
    assert "min_ratio" in problem[0]
    assert "There is no other version of user_scores to go back to." in page.text
    assert served(folder) == ["v1"] * 3


def test_rolls_all_views_back_and_this_process_follows(folder, explorer):
    shelf.publish(folder, "v1", hours=50)
    shelf.publish(folder, "v2", hours=2)
    with explorer(TOKEN) as client:
        answer = roll_back(client, "v1")
        page = Page(answer.text)
        assert answer.status_code == 200
        assert "Rolled back. This process serves v1 now" in page.text
        assert "user_scores: v2 → v1 item_vectors: v2 → v1 user_vectors: v2 → v1" in page.text
        assert answer.headers["X-Scores-Version"] == "v1"
        assert served(folder) == ["v1"] * 3
        assert states(page)[:2] == [("v2", ""), ("v1", "served")]
        assert client.get("/users/ann/items", headers=BEARER).json()["version"] == "v1"
        # The same form goes forward again.
        assert "v1 → v2" in Page(roll_back(client, "v2").text).text
        assert served(folder) == ["v2"] * 3


def test_the_form_offers_the_version_before_the_served_one_first(folder, explorer):
    for number in range(1, 5):
        shelf.publish(folder, f"v{number}")
    feature_store.open_store(f"file:{folder}").rollback("user_scores", "v3")
    (folder / "user_scores" / "v2" / "MANIFEST.json").write_text("{")
    with explorer(TOKEN) as client:
        html = client.get("/explore/versions", headers=BEARER).text
    options = [line for line in html.splitlines() if line.startswith("<option")]
    assert options == ["<option>v4</option>", "<option selected>v1</option>"]


def test_vectors_of_the_same_model_go_with_scores_whose_own_are_gone(folder, explorer):
    shelf.publish(folder, "v1", hours=50, model="6")
    shelf.publish(folder, "v2", hours=20, model="6")
    shelf.publish(folder, "v3", hours=2, model="7")
    store = feature_store.open_store(f"file:{folder}")
    store.delete("item_vectors", "v1")
    store.delete("user_vectors", "v1")
    with explorer(TOKEN) as client:
        page = Page(roll_back(client, "v1").text)
    assert "user_scores: v3 → v1 item_vectors: v3 → v2 user_vectors: v3 → v2" in page.text
    assert served(folder) == ["v1", "v2", "v2"]


@pytest.mark.parametrize("token", ["", "wrong", TOKEN + "x"])
def test_a_wrong_token_changes_nothing_even_for_who_is_signed_in(folder, explorer, token):
    shelf.publish(folder, "v1")
    shelf.publish(folder, "v2")
    with explorer(TOKEN) as client:
        client.post("/explore/sign-in", data={"token": TOKEN})
        answer = client.post("/explore/versions", data={"version": "v1", "token": token})
    assert answer.status_code == 401
    assert "That is not the token: nothing was changed." in Page(answer.text).text
    assert served(folder) == ["v2"] * 3


@pytest.mark.parametrize(
    "headers", [{"Sec-Fetch-Site": "cross-site"}, {"Sec-Fetch-Site": "same-site"}, {"Origin": "http://other.example"}]
)
def test_a_form_of_another_site_changes_nothing_though_it_has_the_token(folder, explorer, headers):
    shelf.publish(folder, "v1")
    shelf.publish(folder, "v2")
    with explorer(TOKEN) as client:
        answer = roll_back(client, "v1", **headers)
        assert answer.status_code == 403
        assert served(folder) == ["v2"] * 3
        assert roll_back(client, "v1", Origin="http://127.0.0.1").status_code == 200
    assert served(folder) == ["v1"] * 3


def test_without_a_token_there_is_no_button_and_no_roll_back(folder, explorer):
    shelf.publish(folder, "v1")
    shelf.publish(folder, "v2")
    with explorer() as client:
        page = Page(client.get("/explore/versions").text)
        answer = client.post("/explore/versions", data={"version": "v1", "token": ""})
    assert "token" not in page.fields
    assert "select" not in page.tags
    assert "This service has no token" in page.text
    assert answer.status_code == 403
    assert served(folder) == ["v2"] * 3


@pytest.mark.parametrize("version", ["v9", "", "../v1", "CURRENT", "<b>"])
def test_a_version_that_is_none_is_refused_in_one_line(folder, explorer, version):
    shelf.publish(folder, "v1")
    shelf.publish(folder, "v2")
    with explorer(TOKEN) as client:
        answer = roll_back(client, version)
    page = Page(answer.text)
    assert answer.status_code == 409
    assert "Below is what is served now." in page.text
    assert "b" not in page.tags
    assert served(folder) == ["v2"] * 3


def test_a_damaged_version_is_refused_and_the_served_one_stays(folder, explorer):
    shelf.publish(folder, "v1")
    shelf.publish(folder, "v2")
    (part,) = (folder / "user_scores" / "v1").glob("*.arrow")
    content = bytearray(part.read_bytes())
    content[len(content) // 2] ^= 1
    part.write_bytes(bytes(content))
    with explorer(TOKEN) as client:
        answer = roll_back(client, "v1")
    assert answer.status_code == 409
    assert "is not as it was written (checksum)" in Page(answer.text).text
    assert served(folder) == ["v2"] * 3


def test_a_damaged_pointer_is_shown_and_mended_by_a_roll_back(folder, explorer):
    shelf.publish(folder, "v1")
    shelf.publish(folder, "v2")
    with explorer(TOKEN) as client:
        (folder / "user_scores" / "CURRENT").write_text("v2 damaged\n")
        page = Page(client.get("/explore/versions", headers=BEARER).text)
        assert "CURRENT is damaged" in page.text
        assert states(page)[:2] == [("v2", "served, but the store names another"), ("v1", "")]
        assert "user_scores: unknown → v1" in Page(roll_back(client, "v1").text).text
    assert served(folder) == ["v1"] * 3


def test_a_version_that_the_store_names_and_the_service_refuses_is_told_apart(folder, explorer):
    shelf.publish(folder, "v1")
    with explorer(TOKEN) as client:
        store = feature_store.open_store(f"file:{folder}")
        with store.begin("user_scores", "v2").writer("part-0") as writer:
            writer.write(shelf.item_rows())
        store.commit("user_scores", "v2", expect_parts=["part-0"], metadata={})
        until(lambda: client.get("/ready", headers=BEARER).json()["reason"] is not None)
        page = Page(client.get("/explore/versions", headers=BEARER).text)
    assert states(page)[:2] == [
        ("v2", "named by the store, not served here"),
        ("v1", "served, but the store names another"),
    ]
    assert "version 'v2' of user_scores has the columns" in page.text


def test_one_roll_back_at_a_time(folder, explorer):
    shelf.publish(folder, "v1")
    shelf.publish(folder, "v2")
    statuses = []
    with explorer(TOKEN) as client:

        def ask() -> None:
            statuses.append(roll_back(client, "v1").status_code)

        threads = [threading.Thread(target=ask) for _ in range(2)]
        # A publisher holds the view, so that one of them waits, and the other one is told so.
        try:
            with locked(folder / "user_scores" / ".lock", 10):
                for thread in threads:
                    thread.start()
                until(lambda: statuses == [409])
        finally:
            for thread in threads:
                thread.join()
    assert statuses == [409, 200]
    assert served(folder) == ["v1"] * 3
