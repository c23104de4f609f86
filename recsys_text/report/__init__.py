"""One self-contained HTML page about a model version: what was learned from what, and how it did. Knows no lake."""

from recsys_text.report.content import Change, Content, Example, Listed, WindowRow
from recsys_text.report.page import render, with_verdict

__all__ = ["Change", "Content", "Example", "Listed", "WindowRow", "render", "with_verdict"]
