"""The explorer in a real Chromium: by keyboard, on a phone, in the dark, and nothing but its own host asked."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any
from urllib.parse import urlsplit

import pytest
from playwright.sync_api import Browser, Page, expect

import feature_store
from tests.service.explore import shelf
from tests.service.explore.reading import CONTRASTS, until

TOKEN = "secret-of-the-service"
PATHS = (
    "",
    "/user?id=ann",
    "/user?id=carl",
    "/user?id=zed",
    "/user?id=",
    "/item?id=dune",
    "/items?q=darkness",
    "/versions",
)

Visit = Callable[..., Any]


@pytest.fixture
def visit(browser: Browser) -> Visit:
    """visit(url, ...): a context with a page of the explorer at `url`; no error in its console, no other host asked."""

    @contextmanager
    def opened(url: str, **options: Any) -> Iterator[Page]:
        context = browser.new_context(base_url=url, **options)
        context.set_default_timeout(20_000)
        page = context.new_page()
        asked: list[str] = []
        said: list[str] = []
        page.on("request", lambda request: asked.append(request.url))
        page.on("console", lambda message: said.append(message.text) if message.type != "verbose" else None)
        page.on("pageerror", lambda error: said.append(str(error)))
        page.on("dialog", lambda dialog: said.append(dialog.message))
        page.goto("/explore")
        yield page
        context.close()
        # That a page says 401 or 404 is no error of the page.
        assert [text for text in said if "the server responded with a status of 4" not in text] == []
        assert {urlsplit(address).netloc for address in asked if not address.startswith("data:")} == {
            urlsplit(url).netloc
        }

    return opened


def sign_in(page: Page, token: str = TOKEN) -> None:
    page.get_by_label("Token").fill(token)
    page.get_by_role("button", name="Sign in").press("Enter")


def test_searching_needs_no_mouse_and_no_script(folder, serving, visit):
    shelf.publish(folder, "v1")
    with serving() as url, visit(url, java_script_enabled=False) as page:
        stops = []
        for _ in range(7):
            page.keyboard.press("Tab")
            focused = page.locator(":focus")
            stops.append(focused.text_content() or focused.get_attribute("id"))
        assert stops == ["Skip to content", "Explorer", "Versions", "user", "Show", "items", "Find"]

        page.keyboard.press("Shift+Tab")
        page.keyboard.type("darkness")
        page.keyboard.press("Enter")
        expect(page.get_by_role("heading", level=1)).to_have_text("Items: darkness")
        link = page.get_by_role("link", name="The left hand of darkness")
        for _ in range(8):
            page.keyboard.press("Tab")
        expect(link).to_be_focused()
        page.keyboard.press("Enter")
        expect(page.get_by_role("heading", level=1)).to_have_text("The left hand of darkness")

        for _ in range(4):
            page.keyboard.press("Tab")
        page.keyboard.type("ann")
        page.keyboard.press("Enter")
        expect(page.get_by_role("heading", level=1)).to_have_text("User ann")


def test_the_focus_is_seen_and_the_skip_link_leads_to_the_content(folder, serving, visit):
    shelf.publish(folder, "v1")
    with serving() as url, visit(url) as page:
        page.keyboard.press("Tab")
        skip = page.get_by_role("link", name="Skip to content")
        expect(skip).to_be_in_viewport()
        page.keyboard.press("Enter")
        page.keyboard.press("Tab")
        expect(page.get_by_role("main").get_by_role("link").first).to_be_focused()
        page.goto("/explore/versions")
        for _ in range(9):
            page.keyboard.press("Tab")
            outline = page.evaluate("""() => {
                const focused = document.activeElement;
                if (focused === document.body) return "2px solid";
                const style = getComputedStyle(focused);
                return `${style.outlineWidth} ${style.outlineStyle}`;
            }""")
            assert outline == "2px solid"


def test_every_field_has_a_label_and_every_page_one_heading(folder, serving, visit):
    shelf.publish(folder, "v1")
    shelf.publish(folder, "v2")
    with serving(token=TOKEN) as url, visit(url) as page:
        assert _unlabelled(page) == []
        sign_in(page)
        for path in PATHS:
            page.goto(f"/explore{path}")
            assert _unlabelled(page) == []
            assert page.locator("h1").count() == page.locator("main").count() == 1


def test_links_lead_from_a_user_to_items_and_on_whatever_they_are_called(folder, serving, visit):
    shelf.publish(folder, "v1")
    with serving() as url, visit(url) as page:
        page.get_by_role("link", name="ann").click()
        page.get_by_role("link", name=shelf.HOSTILE_TITLE).click()
        expect(page.get_by_role("heading", level=1)).to_have_text(shelf.HOSTILE_TITLE)
        assert page.locator("script, img, b").count() == 0
        page.get_by_role("link", name="三体").click()
        expect(page.get_by_role("heading", level=1)).to_have_text("三体")
        page.get_by_label("User id").fill(shelf.HOSTILE_ID)
        page.get_by_role("button", name="Show").click()
        expect(page.get_by_role("heading", level=1)).to_have_text(f"User {shelf.HOSTILE_ID}")
        page.go_back()
        expect(page.get_by_role("heading", level=1)).to_have_text("三体")


def test_signs_in_with_the_right_token_only_and_out_again(folder, serving, visit):
    shelf.publish(folder, "v1")
    with serving(token=TOKEN) as url, visit(url) as page:
        page.goto("/explore/user?id=ann")
        expect(page.get_by_label("Token")).to_be_focused()
        sign_in(page, "wrong")
        expect(page.get_by_role("alert")).to_have_text("That is not the token of this service.")
        assert page.context.cookies() == []
        sign_in(page)
        expect(page.get_by_role("heading", level=1)).to_have_text("User ann")
        (cookie,) = page.context.cookies()
        assert (cookie["httpOnly"], cookie["sameSite"], cookie["path"]) == (True, "Strict", "/explore")
        assert TOKEN not in cookie["value"]
        assert page.goto("/users/ann/items").status == 401
        page.goto("/explore")
        page.get_by_role("button", name="Sign out").click()
        expect(page.get_by_role("heading", level=1)).to_have_text("Sign in")
        assert page.context.cookies() == []


def test_rolls_back_and_the_older_version_is_served(folder, serving, visit):
    shelf.publish(folder, "v1", hours=50)
    shelf.publish(folder, "v2", hours=2)
    with serving(token=TOKEN) as url, visit(url) as page:
        sign_in(page)
        expect(page.get_by_text("Serving v2")).to_be_visible()
        page.get_by_role("link", name="Versions").click()
        expect(page.get_by_label("Version to serve")).to_have_value("v1")
        page.get_by_label("Token, once more").fill("wrong")
        page.get_by_role("button", name="Roll back").click()
        expect(page.get_by_role("alert")).to_have_text("That is not the token: nothing was changed.")
        page.get_by_label("Token, once more").fill(TOKEN)
        page.keyboard.press("Enter")
        expect(page.get_by_role("status")).to_contain_text("This process serves v1 now")
        expect(page.get_by_text("Serving v1")).to_be_visible()
        page.get_by_role("link", name="Explorer").click()
        expect(page.get_by_text("Serving v1")).to_be_visible()
        answer = page.request.get("/users/ann/items", headers={"Authorization": f"Bearer {TOKEN}"})
        assert answer.json()["version"] == "v1"
    assert feature_store.open_store(f"file:{folder}").current("item_vectors") == "v1"


@pytest.mark.parametrize("width", [360, 900, 1025, 1280])
def test_no_page_is_wider_than_the_screen(folder, serving, visit, width, monkeypatch):
    word = "Donaudampfschifffahrtselektrizitätenhauptbetriebswerk" * 2
    items = [(item, word, word, vector, popular) for item, _, _, vector, popular in shelf.ITEMS]
    monkeypatch.setattr(shelf, "ITEMS", items)
    _publish_long_names(folder)
    with serving(token=TOKEN) as url, visit(url, viewport={"width": width, "height": 740}) as page:
        assert _overflow(page) == 0
        sign_in(page)
        page.wait_for_selector("header")
        for path in PATHS:
            page.goto(f"/explore{path}")
            assert _overflow(page) == 0, path


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_texts_are_readable_in_both_schemes(folder, serving, visit, scheme):
    _publish_long_names(folder)
    with serving(token=TOKEN) as url, visit(url, color_scheme=scheme) as page:
        sign_in(page, "wrong")
        expect(page.get_by_role("alert")).to_be_visible()
        contrasts = page.evaluate(CONTRASTS)
        sign_in(page)
        page.wait_for_selector("header")
        for path in PATHS:
            page.goto(f"/explore{path}")
            found = page.evaluate(CONTRASTS)
            assert len(found) > 5
            contrasts += found
        background = page.evaluate("getComputedStyle(document.body).backgroundColor")
    assert {"P", "A", "TD", "TH", "BUTTON", "LABEL", "SMALL", "H1"} <= {tag for tag, _, _ in contrasts}
    assert [contrast for contrast in contrasts if contrast[2] < 4.5] == []
    assert background == {"light": "rgb(255, 255, 255)", "dark": "rgb(22, 24, 27)"}[scheme]


def test_an_empty_store_says_what_to_do_and_follows_the_first_version(folder, serving, visit):
    with serving() as url, visit(url) as page:
        expect(page.get_by_role("status")).to_contain_text("No scores are served")
        shelf.publish(folder, "v1")
        until(lambda: page.reload() is not None and page.get_by_text("Serving v1").count() == 1)


def _publish_long_names(folder: Any) -> None:
    """Versions as publications name them, one of them damaged."""
    for number in range(1, 4):
        shelf.publish(folder, f"2026112{number}T000000Z-m{number}-0123456789ab", hours=100 - 30 * number)
    (folder / "user_scores" / "20261121T000000Z-m1-0123456789ab" / "MANIFEST.json").write_text("{")


def _unlabelled(page: Page) -> list[str]:
    fields: list[str] = page.evaluate(
        "[...document.querySelectorAll('input:not([type=hidden]):not([hidden]), select')]"
        ".filter((field) => !field.labels.length).map((field) => field.outerHTML)"
    )
    return fields


def _overflow(page: Page) -> int:
    wider: int = page.evaluate("document.documentElement.scrollWidth - window.innerWidth")
    return max(0, wider)
