"""Two publications of one version: the later one finds it done, wherever the other one overtakes it."""

from collections.abc import Callable
from typing import Any

import pytest

from recsys_text.config import Settings
from recsys_text.steps import publish as step
from recsys_text.steps.publish import VIEWS, publish, publish_begin, publish_commit, publish_items
from recsys_text.steps.score import score_bucket
from recsys_text.steps.vectors import write_items
from tests.pipeline.test_publish_vectors import extract, served

Plan = dict[str, Any]


@pytest.fixture
def news(published: Settings) -> Settings:
    """A project whose lake has more than what was published."""
    extract(published)
    return published


@pytest.mark.parametrize("overtaken", range(4))
def test_a_publication_that_is_overtaken_ends_well(news: Settings, overtaken: int) -> None:
    plan: Plan = publish_begin(news)

    def items() -> None:
        nonlocal plan
        plan = write_items(news, plan)

    def scores() -> None:
        for bucket in range(news.publish.buckets):
            score_bucket(news, plan, bucket)

    result: dict[str, Any] = {}

    def commit() -> None:
        result.update(publish_commit(news, plan))

    steps: list[Callable[[], None]] = [items, scores, commit]
    for place, act in enumerate(steps):
        if place == overtaken:
            assert publish(news)["swapped"]
        act()
    if overtaken == len(steps):
        assert not publish(news)["swapped"]
    assert result["version"] == plan["version"]
    assert served(news) == dict.fromkeys(VIEWS, plan["version"])


def test_a_publication_that_begins_while_another_one_ends_finds_it_done(
    news: Settings, monkeypatch: pytest.MonkeyPatch
) -> None:
    found, others = step.found, [publish]

    def meanwhile(store: Any, view: str, version: str) -> Any:
        known = found(store, view, version)
        if view == VIEWS[-1] and others:
            others.pop()(news)
        return known

    monkeypatch.setattr(step, "found", meanwhile)
    assert publish_begin(news)["views"] == []


def test_items_that_another_publication_has_published_meanwhile_are_done(
    news: Settings, monkeypatch: pytest.MonkeyPatch
) -> None:
    check, others = step.check_unchanged, [publish_items]

    def meanwhile(settings: Settings, plan: Any) -> None:
        check(settings, plan)
        if others:
            assert others.pop()(news)["swapped"]

    monkeypatch.setattr(step, "check_unchanged", meanwhile)
    assert publish_items(news)["version"] == served(news)["item_vectors"]
