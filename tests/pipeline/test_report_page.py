"""The page of a version in a real Chromium: on a phone, in the dark and in print, and with names of any shape."""

from pathlib import Path
from typing import Any

import polars as pl
import pytest
from playwright.sync_api import Browser, Page

from recsys_text.bundle import Bundle
from recsys_text.config import load
from recsys_text.report import Change, Content, Example, Listed, WindowRow, render
from recsys_text.steps.evaluate import measure
from recsys_text.steps.inputs import bundle_path
from tests.service.explore.reading import CONTRASTS

#: Titles, categories and rules as somebody may have them.
NAMES = (
    '</title><script>document.title = "run"</script><img src="https://evil.example/x.png" onerror="alert(1)">',
    "category: Home & Garden, Lawn Mowers and WWW MMMM WIDE LETTERS",
    "category: 水上の船と庭のばらと音楽会のヴァイオリン、それから月へ行くロケット",
    "category: Спортивные товары и туристическое снаряжение",
    "category: 🚀🌙🎻🌹⛵️🚀🌙🎻🌹⛵️🚀🌙🎻🌹⛵️",
    "W" * 288,
    "short",
)
#: An A4 page within its margins.
SCREENS = {
    "a desk": {"viewport": {"width": 1280, "height": 800}},
    "a phone": {"viewport": {"width": 360, "height": 800}},
    "print": {"viewport": {"width": 688, "height": 1000}},
}
#: Texts of plots that reach out of their plot, with how far.
CUT_OFF = """() => [...document.querySelectorAll("svg text")].flatMap((text) => {
  const [own, plot] = [text, text.ownerSVGElement].map((element) => element.getBoundingClientRect());
  const out = Math.max(plot.left - own.left, own.right - plot.right, plot.top - own.top, own.bottom - plot.bottom);
  return out > 0.5 ? [[text.textContent, out]] : [];
})"""


@pytest.fixture(scope="module")
def pages(published_template: Path, tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    """The page that a training left, and those of large and of tiny numbers with NAMES in all places."""
    folder = tmp_path_factory.mktemp("pages")
    settings = load(published_template / "recsys.toml")
    measured = measure(settings, Bundle.load(bundle_path(settings, "champion")[1]))
    made = {"small": (settings.project.root / "reports" / "report-1.html").read_text()}
    names = dict(zip(measured.table["slice"].unique(maintain_order=True)[1:], NAMES, strict=False))
    table = measured.table.with_columns(pl.col("slice").replace(names))
    for name, size, hours in (("large", 3_456_789.0, 10), ("tiny", 1.234e-5, 120)):
        made[name] = render(strange(size, hours, table=table, reliability=measured.reliability))
    for name, page in made.items():
        (folder / f"{name}.html").write_text(page)
    return {name: folder / f"{name}.html" for name in made}


def strange(size: float, hours: int, **measured: Any) -> Content:
    text = "\n".join(NAMES)
    listed = [Listed(title=name, score=0.25, clicked=name == "short") for name in NAMES]
    shown = Example(
        user=NAMES[5], time="2024-05-05 12:00 UTC", history=NAMES, listed=listed, clicked=NAMES[0], clicks=3, place=1,
        of=48,
    )  # fmt: skip
    keys = [f"2024-05-{1 + hour // 24:02}T{hour % 24:02}" for hour in range(hours)]
    rows = [
        WindowRow(
            key=key, role=("older", "learned from", "tested on", "later")[place * 4 // hours], events=int(size),
            items=int(size), impressions=int(size), rejected=int(size), duplicates=0,
        )
        for place, key in enumerate(keys)
    ]  # fmt: skip
    steps = [(epoch, size * (1 + 1 / epoch)) for epoch in range(1, 31)]
    return Content(
        project=NAMES[5], version="2", facts=[(name, text) for name in NAMES], notes=NAMES, windows=rows,
        digests={"events": "abc" * 20}, rejected=dict.fromkeys(NAMES, 2),
        curves={"loss": steps, "valid_loss": steps, "valid_ndcg_at_10": steps},
        popularity=pl.DataFrame({"part": range(1, 11), "recommended": [0.1] * 10, "clicked": [0.00001] * 10}),
        gain={name: size / (place + 1) for place, name in enumerate(NAMES)},
        permuted={name: (size if place else -size) / (place + 1) for place, name in enumerate(NAMES)},
        good=[shown] * 3, bad=[shown] * 3, champion="1",
        configuration=[Change(name=name, before="7", after=text) for name in NAMES],
        metrics=[Change(name=name, before=None, after="0.9") for name in NAMES],
        verdict=dict.fromkeys(NAMES, text), **measured,
    )  # fmt: skip


@pytest.mark.parametrize("name", ["small", "large", "tiny"])
@pytest.mark.parametrize(
    ("screen", "scheme"),
    [("a desk", "light"), ("a desk", "dark"), ("a phone", "light"), ("a phone", "dark"), ("print", "dark")],
)
def test_it_is_readable_on_any_screen(
    browser: Browser, pages: dict[str, Path], name: str, screen: str, scheme: Any
) -> None:
    context = browser.new_context(**SCREENS[screen], color_scheme=scheme)
    page = context.new_page()
    asked: list[str] = []
    said: list[str] = []
    page.on("request", lambda request: asked.append(request.url))
    page.on("console", lambda message: said.append(message.text))
    page.on("pageerror", lambda error: said.append(str(error)))
    page.on("dialog", lambda dialog: said.append(dialog.message))
    page.emulate_media(media="print" if screen == "print" else "screen")
    page.goto(pages[name].as_uri())
    assert asked == [pages[name].as_uri()]
    assert said == []
    assert "version" in page.title()
    assert page.evaluate(CUT_OFF) == []
    assert page.evaluate("document.documentElement.scrollWidth - window.innerWidth") <= 0, _widest(page)
    found = page.evaluate(CONTRASTS)
    assert len([tag for tag, _, _ in found if tag == "text"]) > 20
    assert [contrast for contrast in found if contrast[2] < 4.5] == []
    context.close()


def _widest(page: Page) -> Any:
    return page.evaluate(
        """() => [...document.querySelectorAll("body *")]
        .filter((element) => element.getBoundingClientRect().right > window.innerWidth && !element.closest(".scroll"))
        .map((element) => [element.tagName, element.textContent.slice(0, 40)]).slice(0, 5)"""
    )
