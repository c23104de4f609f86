"""The page of contents made by hand: what it holds, what is missing, and hostile texts."""

import re
from html.parser import HTMLParser
from typing import Any

import polars as pl
import pytest

from recsys_text.report import Change, Content, Example, Listed, WindowRow, render

SECTIONS = (
    "data", "curves", "evaluation", "reliability", "slices", "popularity", "features", "examples", "changes",
)  # fmt: skip
HOSTILE = '</style><script>alert(1)</script><img src="https://evil.example/x.png" onerror="alert(2)">'


class Reader(HTMLParser):
    """The tags, attributes and texts of a page."""

    def __init__(self, page: str) -> None:
        super().__init__()
        self.tags: list[str] = []
        self.attributes: list[tuple[str, str | None]] = []
        self.texts: list[str] = []
        self.feed(page)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append(tag)
        self.attributes += attrs

    def handle_data(self, data: str) -> None:
        self.texts.append(data)


def example(title: str = "A boat") -> Example:
    return Example(
        user="u1", time="2024-05-05 12:00 UTC", history=[title], listed=[Listed(title=title, score=0.25, clicked=True)],
        clicked=title, clicks=3, place=1, of=48,
    )  # fmt: skip


def full(text: str = "A boat", **changed: Any) -> Content:
    values: dict[str, Any] = {
        "project": text,
        "version": "2",
        "facts": [("Run", text)],
        "notes": [text],
        "windows": [
            WindowRow(key="w1", role="learned from", events=70, items=48, impressions=0, rejected=2, duplicates=1),
            WindowRow(key="w2", role="tested on", events=80, items=48, impressions=5, rejected=0, duplicates=0),
        ],
        "digests": {"events": "abc"},
        "rejected": {text: 2},
        "curves": {"loss": [(1, 2.0), (2, 1.5)], "valid_loss": [(1, 2.2), (2, 2.1)], "valid_ndcg_at_10": [(1, 0.3)]},
        "popularity": pl.DataFrame({"part": [1, 2], "recommended": [0.75, 0.25], "clicked": [0.5, 0.5]}),
        "gain": {text: 0.75, "clicks_24h": 0.25},
        "permuted": {text: 0.125},
        "good": [example(text)],
        "bad": [example(text)],
        "champion": "1",
        "configuration": [Change(name="training.seed", before="7", after=text)],
        "metrics": [Change(name="score/auc", before=None, after="0.9")],
        "verdict": {"reason": text},
    }  # fmt: skip
    return Content(**(values | changed))


EMPTY = Content(project="shop", version="1", facts=[])


@pytest.mark.parametrize("content", [full(), full(HOSTILE), EMPTY], ids=["full", "hostile", "empty"])
def test_the_page_needs_no_other_host_and_no_script(content: Content) -> None:
    page = render(content)
    read = Reader(page)
    assert not {"script", "link", "img", "iframe", "object", "embed", "form", "base"} & set(read.tags)
    for name, value in read.attributes:
        assert not name.startswith("on")
        assert name not in ("src", "srcset", "style", "action", "xlink:href")
        if name == "href":
            assert (value or "").startswith("#")
    style = page[page.index("<style>") : page.index("</style>")]
    assert not re.search(r"url\(|@import|https?:", style)
    assert "prefers-color-scheme: dark" in style
    assert "@media print" in style
    assert read.tags.count("style") == 1


def test_hostile_texts_are_shown_as_texts() -> None:
    read = Reader(render(full(HOSTILE)))
    assert sum(HOSTILE in text for text in read.texts) >= 10


@pytest.mark.parametrize("content", [full(), EMPTY], ids=["full", "empty"])
def test_every_section_is_there_and_every_link_leads_to_one(content: Content) -> None:
    read = Reader(render(content))
    ids = [value for name, value in read.attributes if name == "id"]
    assert ids == list(SECTIONS)
    assert [value for name, value in read.attributes if name == "href"] == [f"#{name}" for name in SECTIONS]


def test_what_is_missing_is_said_to_be_missing() -> None:
    text = " ".join(Reader(render(EMPTY)).texts)
    for line in (
        "The lake has no window.", "No learning curve was logged", "Nothing was measured.",
        "Nothing is known of its features.", "There is no champion to compare it with.", "has not judged this version",
    ):  # fmt: skip
        assert line in text
    assert text.count("There is none.") == 2, "neither good nor bad examples"
    assert "<figure>" not in render(EMPTY)


def test_what_is_there_is_said() -> None:
    text = re.sub(r"\s+", " ", " ".join(Reader(render(full())).texts))
    for line in (
        "place 1 of 48", "A boat (25.00%) , clicked", "Rejected rows by rule", "tested on", "training.seed 7 A boat",
        "score/auc none 0.9", "Champion 1", "nDCG@10 lost",
    ):  # fmt: skip
        assert line in text or line.replace(" ,", ",") in text, line
    assert render(full()).count("<figure>") == 6


def test_only_the_newest_windows_are_listed_and_all_are_summed_up() -> None:
    rows = [
        WindowRow(key=f"w{n:03d}", role="learned from", events=1, items=0, impressions=0, rejected=0, duplicates=0)
        for n in range(200)
    ]
    page = render(full(windows=rows))
    assert '<th scope="row">w199</th>' in page
    assert '<th scope="row">w100</th>' not in page
    assert re.search(
        r'learned from</th><td>w000</td><td>w199</td><td class="num">200</td><td class="num">200</td>', page
    )
