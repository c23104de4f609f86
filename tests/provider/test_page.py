"""The page in a real Chromium, in an Airflow that runs: who sees what, who may do what, and what a click starts."""

import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import httpx
import pytest
from playwright.sync_api import Browser, Page, expect

from tests.provider.running import Server, running
from tests.provider.shop import HOSTILE, REFUSED, VERSIONS
from tests.service.explore.reading import CONTRASTS

PAGE = "/recsys-text/projects/small"
#: The space in pixels between each number of a table and the text that begins right of it.
GAPS = """() => {
  const box = (cell) => { const range = document.createRange(); range.selectNodeContents(cell);
                          return range.getBoundingClientRect(); };
  return [...document.querySelectorAll('table .num + :not(.num)')]
    .filter((cell) => cell.checkVisibility())
    .map((cell) => [cell.previousElementSibling.innerText, cell.innerText,
                    box(cell).left - box(cell.previousElementSibling).right]);
}"""

Visit = Callable[..., Any]
expect.set_options(timeout=30_000)


@pytest.fixture(scope="module")
def server(installed: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    with running(installed, tmp_path_factory.mktemp("shop")) as server:
        yield server


@pytest.fixture
def visit(browser: Browser, server: Server) -> Visit:
    """visit("viewer", ...): a page in the browser of who is signed in; no error in its console, no dialog."""

    @contextmanager
    def opened(user: str, **options: Any) -> Iterator[Page]:
        context = browser.new_context(base_url=server.url, **options)
        context.set_default_timeout(30_000)
        context.add_cookies([{"name": "_token", "value": server.token(user), "url": server.url}])
        page = context.new_page()
        said: list[str] = []
        page.on("console", lambda message: said.append(message.text) if message.type == "error" else None)
        page.on("pageerror", lambda error: said.append(str(error)))
        page.on("dialog", lambda dialog: said.append(dialog.message))
        yield page
        context.close()
        # That a page says 403 or 409 is no error of the page.
        assert [text for text in said if "the server responded with a status of 4" not in text] == []

    return opened


def test_nobody_sees_anything_without_signing_in(browser: Browser, server: Server) -> None:
    for method, path in (("GET", "/recsys-text/"), ("GET", PAGE), ("POST", f"{PAGE}/publish")):
        answer = httpx.request(method, server.url + path, timeout=60)
        assert answer.status_code == 401, path
        assert VERSIONS[0] not in answer.text
    assert server.runs("small_publish") == []
    page = browser.new_page(base_url=server.url)
    page.goto(PAGE)
    page.get_by_role("link", name="Sign in to Airflow").click()
    page.locator("input[name=username]").fill("viewer")
    page.locator("input[name=password]").fill(server.passwords["viewer"])
    page.keyboard.press("Enter")
    page.wait_for_url(f"{server.url}/")
    page.goto(PAGE)
    expect(page.get_by_role("heading", level=1)).to_have_text("small")
    page.context.close()


def test_a_viewer_sees_how_it_is_doing_and_no_buttons(server: Server, visit: Visit) -> None:
    with visit("viewer", java_script_enabled=False) as page:
        page.goto(PAGE)
        scores = page.get_by_role("region", name="Published scores")
        expect(scores).to_contain_text(VERSIONS[-1])
        expect(scores).to_contain_text("2024-05-06 00:00 UTC")
        expect(scores).to_contain_text(f"{REFUSED} was refused")
        events = page.get_by_role("region", name="Data").get_by_role("row", name="events")
        expect(events).to_contain_text("2024-05-06")
        expect(events).to_contain_text("user_id|nullability: 2")
        models = page.get_by_role("region", name="Models")
        expect(models.get_by_role("row", name="champion")).to_contain_text("+0.0123 [+0.0093, +0.0153]")
        expect(models.get_by_role("row", name="challenger")).to_contain_text("−0.0042 [−0.0072, −0.0012]")
        expect(models).to_contain_text(HOSTILE)
        quality = page.get_by_role("region", name="Quality of what was published")
        label = "ndcg@10 by window, from 0.1000 in 2024-05-01 to 0.1500 in 2024-05-06"
        expect(quality.get_by_role("img", name=label)).to_be_visible()
        expect(quality.locator("figure")).to_have_count(3)
        assert page.locator("figure").first.locator("path.dot").count() == 6
        assert page.locator("figure").first.locator("path.band").count() == 1
        assert page.get_by_role("button").count() == 0
        assert page.locator("form, select").count() == 0


def test_what_a_viewer_may_not_do_is_refused(server: Server, visit: Visit) -> None:
    with visit("viewer") as page:
        page.goto(PAGE)
        for action in ("publish", "rollback"):
            answer = page.request.post(f"{PAGE}/{action}", form={"version": VERSIONS[0]})
            assert answer.status == 403
            assert f"You may not start small_{action}" in answer.text()
        assert page.request.get("/recsys-text/projects/none").status == 404
    assert server.runs("small_publish") == []


def test_an_admin_publishes_again_in_airflows_own_page(server: Server, visit: Visit) -> None:
    with visit("admin") as page:
        page.goto("/")
        page.get_by_role("link", name="Recsys").click()
        frame = page.frame_locator("iframe[title=Recsys]")
        frame.get_by_role("link", name="small").click()
        frame.get_by_role("button", name="Publish again").click()
        (run,) = _runs_when_there(server, "small_publish")
        expect(frame.get_by_role("row", name=run["dag_run_id"])).to_contain_text("admin")
        expect(frame.get_by_role("row", name=run["dag_run_id"])).to_contain_text("queued")
    assert (run["run_type"], run["triggering_user_name"], run["conf"]) == ("manual", "admin", {})
    (log,) = server.get("eventLogs", dag_id="small_publish", event="trigger_dag_run")["event_logs"]
    assert (log["owner"], log["run_id"]) == ("admin", run["dag_run_id"])


def test_an_admin_rolls_back_by_keyboard_and_without_script(server: Server, visit: Visit) -> None:
    with visit("admin", java_script_enabled=False) as page:
        page.goto(PAGE)
        expect(page.get_by_label("Version to go back to")).to_have_value(VERSIONS[1])
        assert page.get_by_role("option").all_inner_texts() == [VERSIONS[1], VERSIONS[0]]
        page.get_by_label("Version to go back to").focus()
        page.keyboard.press("End")
        page.keyboard.press("Tab")
        page.keyboard.press("Enter")
        (run,) = _runs_when_there(server, "small_rollback")
        expect(page.get_by_role("row", name=run["dag_run_id"])).to_be_visible()
    assert (run["triggering_user_name"], run["conf"]) == ("admin", {"version": VERSIONS[0]})


def test_no_form_of_another_site_and_no_unknown_version_starts_anything(server: Server, visit: Visit) -> None:
    before = server.runs("small_publish")
    with visit("admin") as page:
        page.goto(PAGE)
        for headers in ({"Origin": "https://evil.example"}, {"Sec-Fetch-Site": "cross-site"}):
            answer = page.request.post(f"{PAGE}/publish", headers=headers)
            assert answer.status == 403
            assert "another site" in answer.text()
        for version in ("", "none", REFUSED, VERSIONS[-1]):
            answer = page.request.post(f"{PAGE}/rollback", form={"version": version})
            assert answer.status == 409
            assert "There is no version" in answer.text()
        assert page.request.post(f"{PAGE}/train").status == 404
    assert server.runs("small_publish") == before


def test_a_run_that_only_skipped_does_not_look_like_work(server: Server, visit: Visit) -> None:
    server.command("dags", "test", "bare_publish")
    (run,) = server.runs("bare_publish")
    assert run["state"] == "success"  # as Airflow has it
    with visit("viewer") as page:
        page.goto("/recsys-text/projects/bare")
        row = page.get_by_role("row", name=run["dag_run_id"])
        expect(row).to_contain_text("nothing to do")
        expect(row).to_contain_text("there is no champion yet")
        expect(row).not_to_contain_text("success")
        assert row.locator(".mark.good").count() == 0


def test_numbers_keep_away_from_the_texts_beside_them(visit: Visit) -> None:
    with visit("viewer", viewport={"width": 1000, "height": 800}) as page:
        page.goto(PAGE)
        gaps = page.evaluate(GAPS)
    assert [texts for *texts, _ in gaps][:1] == [["Rows", "Rejected"]]
    assert [gap for gap in gaps if gap[2] < 24] == []


@pytest.mark.parametrize("scheme", ["light", "dark"])
@pytest.mark.parametrize("width", [360, 1280])
def test_it_is_readable_on_any_screen(visit: Visit, scheme: str, width: int) -> None:
    with visit("admin", color_scheme=scheme, viewport={"width": width, "height": 800}) as page:
        for path in ("/recsys-text/", PAGE, "/recsys-text/projects/bare", "/recsys-text/projects/none"):
            page.goto(path)
            found = page.evaluate(CONTRASTS)
            assert len(found) > 2
            assert [contrast for contrast in found if contrast[2] < 4.5] == []
            assert page.evaluate("document.documentElement.scrollWidth - window.innerWidth") <= 0, path
        background = page.evaluate("getComputedStyle(document.body).backgroundColor")
    assert background == {"light": "rgb(255, 255, 255)", "dark": "rgb(22, 24, 27)"}[scheme]


def test_nothing_of_a_project_is_there_yet(visit: Visit) -> None:
    with visit("admin") as page:
        page.goto("/recsys-text/projects/bare")
        for text in (
            "Nothing is published yet",
            "No window is in the lake",
            "No model is registered",
            "Nothing is measured",
        ):
            expect(page.get_by_text(text)).to_be_visible()
        expect(page.get_by_role("button")).to_have_text(["Publish"])


def test_the_list_of_projects_tells_of_each_and_of_configs_that_give_none(visit: Visit) -> None:
    with visit("viewer") as page:
        page.goto("/recsys-text/")
        expect(page.get_by_text("gone.toml', and no TOML file is there")).to_be_visible()
        expect(page.get_by_role("row", name="small")).to_contain_text(VERSIONS[-1])
        expect(page.get_by_role("row", name="bare")).to_contain_text("nothing yet")
        page.get_by_role("link", name="small").click()
        page.get_by_role("link", name="All projects").click()
        expect(page.get_by_role("heading", level=1)).to_have_text("Recommendations")


def test_the_page_runs_no_script_and_is_framed_by_airflow_alone(server: Server) -> None:
    headers = {"Authorization": f"Bearer {server.token('viewer')}"}
    answer = httpx.get(server.url + PAGE, headers=headers, timeout=60)
    policy = answer.headers["Content-Security-Policy"]
    assert "default-src 'none'" in policy
    assert "script-src" not in policy
    assert "frame-ancestors 'self'" in policy
    assert "<script" not in answer.text.replace("&lt;script", "")


def _runs_when_there(server: Server, dag_id: str) -> list[dict[str, Any]]:
    for _ in range(300):
        if runs := server.runs(dag_id):
            return runs
        time.sleep(0.1)
    pytest.fail(f"no run of {dag_id} was started")
