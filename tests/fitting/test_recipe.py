"""What a configuration leaves open is decided from the training windows alone, by kind of log."""

from datetime import UTC, datetime, timedelta
from typing import Any

import numpy as np
import polars as pl
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from recsys_text.config import Settings
from recsys_text.fitting.recipe import Decided, decide
from recsys_text.ranking.log import Log, build_log
from recsys_text.ranking.logged import with_logged
from recsys_text.sections import Blend, Candidates, Evaluation, Model, Project, Source, Sources
from recsys_text.sections.base import Section

START = datetime(2024, 1, 1, tzinfo=UTC)
DAY = timedelta(days=1)
TIME = pl.Datetime("us", "UTC")
DAYS = 40
SOURCE = Source(kind="file", path="x.csv")


def settings_of(**sections: Any) -> Settings:
    return Settings(project=Project(name="p"), sources=Sources(items=SOURCE, events=SOURCE), **sections)


def spans(days: int = DAYS) -> list[tuple[datetime, datetime]]:
    return [(START + n * DAY, START + (n + 1) * DAY) for n in range(days)]


def log_of(events: list[tuple[str, str, float]], born: dict[str, float]) -> Log:
    """Events are (user, item, day); items are known from a day on."""
    items = pl.DataFrame(
        {"item_id": list(born), "known_at": [START + timedelta(days=day) for day in born.values()]},
        schema_overrides={"known_at": TIME},
    ).with_columns(published_at="known_at", expires_at=pl.lit(None, TIME))
    rows = [(user, item, "click", START + timedelta(days=day)) for user, item, day in events]
    schema: Any = {"user_id": pl.String, "item_id": pl.String, "event_type": pl.String, "occurred_at": TIME}
    return build_log(items, pl.DataFrame(rows, schema=schema, orient="row"))


def news(seed: int = 0) -> Log:
    """Five items a day, each clicked within hours by users who come and go, and never again."""
    draw = np.random.default_rng(seed)
    born = {f"i{day}-{n}": day + n / 10 for day in range(DAYS) for n in range(5)}
    events = [
        (f"u{draw.integers(200)}-{day}", item, day + 0.01 + float(draw.random()) * 0.3)
        for item, day in born.items()
        for _ in range(4)
    ]
    return log_of(events, born)


def shop(seed: int = 0) -> Log:
    """Baskets of four, of forty items that are there from the start, half of them bought before."""
    draw = np.random.default_rng(seed)
    born = {f"i{n}": 0.0 for n in range(40)}
    events = []
    for user in range(30):
        usual = draw.choice(40, 6, replace=False)
        for day in sorted(draw.choice(DAYS, 8, replace=False)):
            basket = {*draw.choice(usual, 2, replace=False), *draw.choice(40, 2, replace=False)}
            events += [(f"u{user}", f"i{item}", day + 0.5) for item in basket]
    return log_of(events, born)


def decided_of(log: Log, days: int = DAYS, **sections: Any) -> Decided:
    """With one word for every third item."""
    texts = [f"word{place % 3} item{place}" for place in range(len(log.item_ids))]
    return decide(log, texts, spans(days), settings_of(**sections))


def chosen(found: Decided) -> tuple[str, bool, str]:
    return found.settings.candidates.pool, found.settings.candidates.repeat, found.settings.evaluation.at


def test_items_that_age_leave_the_pool_and_those_that_live_stay() -> None:
    of_news, of_shop = (decided_of(log) for log in (news(), shop()))
    assert chosen(of_news) == ("alive", False, "click")
    assert chosen(of_shop) == ("all", True, "window")
    assert timedelta(hours=12) <= of_news.settings.candidates.active <= 10 * DAY
    assert of_news.settings.candidates.active == of_news.settings.candidates.fresh
    for found in (of_news, of_shop):
        assert [line.rpartition("(")[2].partition(".")[0] for line in found.lines] == [
            "candidates",
            "candidates",
            "evaluation",
        ]


def test_what_was_shown_is_ranked_when_it_was_shown() -> None:
    log = shop()
    shown = pl.DataFrame(
        {
            "user_id": ["u0", "u1"],
            "shown_at": [START + DAY, START + 2 * DAY],
            "candidates": [["i0", "i1", "i2"]] * 2,
            "clicked": [[True, True, False]] * 2,
            "impression_id": ["a", "b"],
        },
        schema_overrides={"shown_at": TIME},
    )
    assert decided_of(with_logged(log, shown)).settings.evaluation.at == "click"
    later = shown.with_columns(pl.col("shown_at") + DAYS * DAY)
    assert decided_of(with_logged(log, later)).settings.evaluation.at == "window", "it was shown after all windows"


def test_what_is_set_stays() -> None:
    settings = settings_of(
        candidates=Candidates(pool="all", repeat=True),
        evaluation=Evaluation(at="window"),
        model=Model(curve=2, penalty=1),
    )
    found = decide(news(), ["text"] * 200, spans(), settings)
    assert found.lines == ()
    assert found.settings == settings


def test_auto_says_that_a_key_is_not_set() -> None:
    named = Candidates.model_validate({"pool": "auto", "active": "auto", "fresh": "auto", "repeat": "auto"})
    assert named.model_fields_set == set()
    assert decided_of(shop(), candidates=named).lines == decided_of(shop()).lines


@settings(deadline=None, max_examples=20)
@given(st.integers(0, 1000), st.sampled_from([news, shop]), st.integers(1, DAYS - 1))
def test_what_comes_after_the_cutoff_decides_nothing(seed: int, kind: Any, days: int) -> None:
    log = kind(seed)
    cutoff = START + days * DAY
    before = build_log(*frames(log, cutoff))
    assert decided_of(log, days) == decided_of(before, days)


def frames(log: Log, cutoff: datetime) -> tuple[pl.DataFrame, pl.DataFrame]:
    """The tables of a log with the events before the cutoff alone."""
    known = pl.Series(log.known_at).cast(TIME)
    items = pl.DataFrame({"item_id": log.item_ids, "known_at": known}).with_columns(
        published_at="known_at", expires_at=pl.lit(None, TIME)
    )
    events = pl.DataFrame(
        {
            "user_id": pl.Series(log.user_ids).gather(log.user),
            "item_id": pl.Series(log.item_ids).gather(log.item),
            "occurred_at": pl.Series(log.time).cast(TIME),
        }
    ).with_columns(event_type=pl.lit("click"))
    return items, events.filter(pl.col("occurred_at") < cutoff)


def test_a_log_without_clicks_is_left_as_it_is() -> None:
    settings = settings_of()
    assert decide(log_of([], {"a": 0.0}), ["a"], spans(), settings) == Decided(settings=settings, lines=())


@pytest.mark.parametrize("section", [Candidates, Evaluation, Model])
def test_the_keys_that_are_decided_exist(section: Any) -> None:
    assert set(section.model_fields) >= section.AUTO


@pytest.mark.parametrize("section", [Candidates(repeat=True), Model(), Evaluation(), Blend(kind="mlp"), Blend()])
def test_a_record_of_a_section_leaves_open_what_it_leaves_open(section: Section) -> None:
    again = type(section).model_validate(section.record())
    assert again == section
    assert section.AUTO - again.model_fields_set == section.AUTO - section.model_fields_set
