"""A page as its readers see it: texts, cells and links; and waiting for one. Knows no page of ours."""

import time
from collections.abc import Callable
from html.parser import HTMLParser
from typing import Any

import pytest

#: For each text that is shown: its contrast with what is behind it, as WCAG 2 computes it.
CONTRASTS = """() => {
  const parse = (text) => text.match(/[\\d.]+/g).map(Number);
  const light = ([r, g, b]) => [r, g, b]
    .map((v) => v / 255)
    .map((v) => (v <= 0.04045 ? v / 12.92 : ((v + 0.055) / 1.055) ** 2.4))
    .reduce((sum, v, i) => sum + v * [0.2126, 0.7152, 0.0722][i], 0);
  const behind = (element) => {
    for (let e = element; e; e = e.parentElement) {
      const colour = parse(getComputedStyle(e).backgroundColor);
      if (colour.length === 3 || colour[3] === 1) return colour;
    }
    return [255, 255, 255];
  };
  const found = [];
  for (const element of document.querySelectorAll("body *")) {
    const own = [...element.childNodes].some((node) => node.nodeType === 3 && node.data.trim());
    if (!own || !element.getClientRects().length) continue;
    const style = getComputedStyle(element);
    const ink = element instanceof SVGElement ? style.fill : style.color;
    const [a, b] = [light(parse(ink)), light(behind(element))];
    const contrast = (Math.max(a, b) + 0.05) / (Math.min(a, b) + 0.05);
    found.push([element.tagName, element.textContent.trim().slice(0, 40), contrast]);
  }
  return found;
}"""

_SILENT = {"style", "title"}
_VOID = {"meta", "link", "input", "br", "img"}


class Page(HTMLParser):
    """`text` is all that is shown; `rows` has the cells of each table row; `links` the addresses by their text."""

    def __init__(self, html: str) -> None:
        super().__init__()
        self.rows: list[list[str]] = []
        self.links: dict[str, str] = {}
        self.tags: set[str] = set()
        self.fields: dict[str, str | None] = {}
        self._open: list[str] = []
        self._texts: list[str] = []
        self._href: str | None = None
        self._linked = ""
        self.feed(html)
        self.close()
        self.rows = [[" ".join(cell.split()) for cell in row] for row in self.rows if row]
        assert self._open == [], f"not closed: {self._open}"

    @property
    def text(self) -> str:
        return " ".join(" ".join(self._texts).split())

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        given: dict[str, Any] = dict(attrs)
        self.tags.add(tag)
        if tag == "br":
            self.handle_data(" ")
        if tag not in _VOID:
            self._open.append(tag)
        if tag == "tr":
            self.rows.append([])
        if tag == "td":
            self.rows[-1].append("")
        if tag == "a":
            self._href, self._linked = given["href"], ""
        if tag == "input":
            self.fields[given["name"]] = given.get("value")

    def handle_startendtag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.add(tag)

    def handle_endtag(self, tag: str) -> None:
        assert self._open.pop() == tag
        if tag == "a" and self._href is not None:
            self.links.setdefault(self._linked.strip(), self._href)
            self._href = None

    def handle_data(self, data: str) -> None:
        if _SILENT & set(self._open):
            return
        self._texts.append(data)
        if "td" in self._open:
            self.rows[-1][-1] += data
        if self._href is not None:
            self._linked += data


def until(holds: Callable[[], bool]) -> None:
    """Waits for what the service does by itself."""
    for _ in range(400):
        if holds():
            return
        time.sleep(0.05)
    pytest.fail("waited 20 seconds in vain")
