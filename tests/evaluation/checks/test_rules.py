"""Each rule about data has data that trip it, with the level, count and example that follow, and data that do not."""

from collections.abc import Callable
from datetime import timedelta

import numpy as np
import polars as pl
import pytest

from recsys_text.evaluation.checks import Finding, catalogue, leaks, people, shown, times
from recsys_text.evaluation.checks.finding import Rule
from recsys_text.ranking.log import Impressions, Log, build_log
from tests.evaluation.checks.frames import HOUR, START, events, honest, impressions, items

DAY = timedelta(days=1)
NOW = START + 100 * HOUR


def clicked(shift: float) -> tuple[pl.DataFrame, pl.DataFrame]:
    """30 impressions of two items, and the events of the first one so many hours after each."""
    minutes = np.random.default_rng(2).uniform(0.1, 4, 30) / 60
    rows = [(f"s{n}", f"u{n}", 30.0 + n, {"i1": True, "i2": False}) for n in range(30)]
    acts = [(f"u{n}", "i1", 30.0 + n + shift + float(minutes[n])) for n in range(30)]
    return impressions(rows), events(acts)


def bought(users: int, again: int) -> list[Finding]:
    """Lists that each user clicked two of, of which one was bought a minute later, or by the last users before."""
    rows = [(f"s{n}{k}", f"u{n}", 30.0 + k, {f"i{k}": True, "i9": False}) for n in range(users) for k in (0, 1)]
    acts = [(f"u{n}", "i0", 29.0 if n >= users - again else 30.02) for n in range(users)]
    return shown.clocks(impressions(rows), events(acts, "purchase"))


def at_hours(*hours: float) -> pl.DataFrame:
    return events((f"u{n}", f"i{n % 7}", hour) for n, hour in enumerate(hours))


def robot(count: int, hours: float) -> pl.DataFrame:
    return events([*honest().select("user_id", "item_id", pl.lit(1.5)).rows(), *(
        ("robot", f"i{n}", 24 + hours * n / count) for n in range(count)
    )])  # fmt: skip


def twice_a_second(gap: float) -> pl.DataFrame:
    return events(("u1", f"i{n}", n + again * gap / 3600) for n in range(10) for again in (0, 1))


def same(histories: int, shared: int = 6) -> pl.DataFrame:
    rows = [(f"twin{n}", f"i{item}", 5.0 * n + item + 0.01) for n in range(histories) for item in range(shared)]
    return pl.concat([honest(), events(rows)])


def path(readers: int) -> pl.DataFrame:
    """Users who read the same items in the same order, each in their own time."""
    random = np.random.default_rng(9)
    hours = np.cumsum(random.uniform(0.01, 0.2, (readers, 6)), axis=1)
    return pl.concat([honest(), events(
        (f"reader{n}", f"i{item}", float(hours[n, item])) for n in range(readers) for item in range(6)
    )])  # fmt: skip


def close(seconds: float) -> pl.DataFrame:
    """Two users of other histories, who are at the same six items at the same seconds, or not."""
    rows = [("a", f"i{n}", n + 0.5) for n in range(6)] + [("b", f"i{n}", n + 0.5 + seconds / 3600) for n in range(6)]
    return pl.concat([honest(), events([*rows, ("b", "i40", 20.1)])])


def crowd(users: int, alone: int = 1) -> pl.DataFrame:
    """Users who are at the same six items at the same seconds, and each at some others by themselves."""
    own = [(f"c{n}", f"i{n % 9}", 9 + n / 7 + more) for n in range(users) for more in range(alone)]
    return pl.concat([honest(), events([*own, *((f"c{n}", f"i{k}", k + 0.5) for n in range(users) for k in range(6))])])


def copies(offset: float) -> pl.DataFrame:
    own = honest(hours=24)
    return pl.concat([own, own.with_columns(pl.col("occurred_at") + timedelta(hours=offset))])


def titles(which: int, *names: str) -> Finding:
    return catalogue.titles(items(names))[which]


RULES: dict[str, tuple[Callable[[], Finding], Callable[[], Finding], str, int, str]] = {
    "event after now": (
        lambda: times.future(at_hours(1, 101), items(["a"]), impressions([]), NOW),
        lambda: times.future(at_hours(1, 100.05), items(["a"]), impressions([]), NOW),
        "error", 1, "i1",
    ),
    "impression after now": (
        lambda: times.future(at_hours(1), items(["a"]), impressions([("s1", "u", 101, {"i0": True})]), NOW),
        lambda: times.future(at_hours(1), items(["a"]), impressions([("s1", "u", 99, {"i0": True})]), NOW),
        "error", 1, "s1",
    ),
    "item updated after now": (
        lambda: times.future(at_hours(1), items(["a", "b"], updated_at=[1, 200]), impressions([]), NOW),
        lambda: times.future(at_hours(1), items(["a", "b"], updated_at=[1, 2]), impressions([]), NOW),
        "error", 1, "i1",
    ),
    "items of the future": (
        lambda: times.future_items(items(["a", "b"], published_at=[1, 200]), NOW),
        lambda: times.future_items(items(["a", "b"], published_at=[1, None]), NOW),
        "warning", 1, "i1",
    ),
    "clicks before publication": (
        lambda: times.before_publication(at_hours(1, 2), items(["a", "b"], published_at=[0, 3])),
        lambda: times.before_publication(at_hours(1, 2), items(["a", "b"], published_at=[0, 2.05])),
        "error", 1, "i1",
    ),
    "clicks after expiry": (
        lambda: times.after_expiry(at_hours(1, 2), items(["a", "b"], expires_at=[None, 1])),
        lambda: times.after_expiry(at_hours(1, 2), items(["a", "b"], expires_at=[None, 3])),
        "error", 1, "i1",
    ),
    "dates for times": (
        lambda: times.cut(at_hours(*(24.0 * n for n in range(30)), 1.5), ordered=False)[0],
        lambda: times.cut(honest(), ordered=False)[0],
        "error", 30, "those of user u0",
    ),
    "dates of a log that has only an order": (
        lambda: times.cut(at_hours(*(24.0 * n + 12 for n in range(30))), ordered=True)[0],
        lambda: times.cut(at_hours(*(float(n) for n in range(30))), ordered=True)[0],
        "warning", 30, "those of user u0",
    ),
    "clicks on unknown items": (
        lambda: catalogue.unknown_items(at_hours(1, 2), items(["a"])),
        lambda: catalogue.unknown_items(at_hours(1, 2), items(["a", "b"])),
        "error", 1, "i1",
    ),
    "empty titles": (
        lambda: titles(0, "a boat", "  ", "-!", "sails"),
        lambda: titles(0, "a boat", "水", "7"),
        "warning", 2, "i1",
    ),
    "titles of one word": (
        lambda: titles(1, "boat", " sail  ", "a violin"),
        lambda: titles(1, "boat", "a sail", "水上的船", "音楽会"),
        "warning", 2, "i0",
    ),
    "languages": (
        lambda: titles(2, "boat", "sail", "水上的船 ahoy"),
        lambda: titles(2, "boat", "Éclair au café", "42", "sail"),
        "warning", 1, "i2",
    ),
    "repeated events": (
        lambda: people.repeated(twice_a_second(0.5), 0), lambda: people.repeated(twice_a_second(5), 0),
        "warning", 10, "u1 on i0",
    ),
    "another type is no repeat": (
        lambda: people.repeated(honest(), 40),
        lambda: people.repeated(pl.concat([honest(), events(honest().select(
            "user_id", "item_id", (pl.col("occurred_at") - START).dt.total_microseconds() / 3.6e9
        ).rows(), "view")]), 0),
        "warning", 40, "",
    ),
    "events in several windows": (
        lambda: people.copied(copies(48), DAY), lambda: people.copied(copies(47.5), DAY), "error", 320, "",
    ),
    "full hours in several windows": (
        lambda: people.copied(copies(24), DAY),
        lambda: people.copied(events(("u", "i", 24.0 * n + 12) for n in range(9)), DAY),
        "error", 320, "",
    ),
    "same histories": (
        lambda: people.duplicated_users(same(2)), lambda: people.duplicated_users(same(2, shared=4)),
        "warning", 2, "twin0",
    ),
    "many of the same history": (
        lambda: people.duplicated_users(same(9)), lambda: people.duplicated_users(path(9)), "error", 9, "twin0",
    ),
    "users at the same seconds": (
        lambda: people.duplicated_users(close(0)), lambda: people.duplicated_users(close(90)), "warning", 2, "a",
    ),
    "a crowd is no one person": (
        lambda: people.duplicated_users(crowd(2)), lambda: people.duplicated_users(crowd(25)), "warning", 2, "c0",
    ),
    "users who are together now and then": (
        lambda: people.duplicated_users(crowd(2)), lambda: people.duplicated_users(crowd(2, alone=6)),
        "warning", 2, "c0",
    ),
    "inhuman in minutes": (
        lambda: people.inhuman(robot(110, 0.15), cut=False), lambda: people.inhuman(robot(110, 3), cut=False),
        "warning", 110, "robot",
    ),
    "inhuman in a day": (
        lambda: people.inhuman(robot(2001, 23.9), cut=True), lambda: people.inhuman(robot(2000, 23.9), cut=True),
        "error", 2001, "robot",
    ),
    "impressions in several windows": (
        lambda: shown.shown_twice(impressions([("s1", "u", 1, {"a": True}), ("s1", "u", 30, {"a": True})])),
        lambda: shown.shown_twice(impressions([("s1", "u", 1, {"a": True}), ("s2", "u", 30, {"a": True})])),
        "error", 1, "s1",
    ),
    "impressions without clicks": (
        lambda: shown.labels(impressions([("s1", "u", 1, {"a": False})]))[0],
        lambda: shown.labels(impressions([("s1", "u", 1, {"a": False, "b": True})]))[0],
        "error", 1, "s1",
    ),
    "impressions all clicked": (
        lambda: shown.labels(impressions([("s1", "u", 1, {"a": True})]))[1],
        lambda: shown.labels(impressions([("s1", "u", 1, {"a": False, "b": True})]))[1],
        "error", 1, "s1",
    ),
    "clicks before they were shown": (
        lambda: shown.clocks(*clicked(-0.5))[0], lambda: shown.clocks(*clicked(0))[0], "error", 30, "s0",
    ),
    "events at the very time of their impression": (
        lambda: shown.clocks(*clicked(-0.1))[0],
        lambda: shown.clocks(impressions([("s0", "u", 1, {"i1": True})]), events([("u", "i1", 1)]))[0],
        "error", 30, "s0",
    ),
    "items that were clicked again": (
        lambda: shown.clocks(clicked(0)[0], clicked(-0.5)[1])[0],
        lambda: shown.clocks(clicked(0)[0], pl.concat([clicked(-0.5)[1], clicked(0)[1]]))[0],
        "error", 30, "s0",
    ),
    "a few purchases that were looked at again": (
        lambda: bought(30, 30)[0], lambda: bought(6, 6)[0], "error", 30, "s00",
    ),
    "some purchases that were looked at again": (
        lambda: bought(100, 5)[0], lambda: bought(100, 2)[0], "warning", 5, "s950",
    ),
    "time zones": (
        lambda: shown.clocks(*clicked(8))[1], lambda: shown.clocks(*clicked(0))[1], "error", 30, "",
    ),
}  # fmt: skip


@pytest.mark.parametrize("name", RULES)
def test_a_rule_fires_and_keeps_quiet(name: str) -> None:
    trips, quiet, level, count, example = RULES[name]
    found = trips()
    assert found.count == count, found
    assert found.level == level, found
    assert "{" not in found.line
    assert found.share == found.count / found.of <= 1
    if example:
        assert found.examples[0] == example
        assert f"such as {example}" in found.line
    assert len(found.examples) <= 3
    still = quiet()
    assert still.level == "ok", still
    assert "such as" not in still.line


def test_the_hours_between_two_clocks_are_told() -> None:
    assert "30 of 30 events lie +8 hours" in shown.clocks(*clicked(8))[1].line
    assert "30 of 30 events lie -5 hours" in shown.clocks(*clicked(-5))[1].line


def test_a_share_at_its_bound_is_not_above_it() -> None:
    rule = Rule(name="n", found="{count} of {of}", why="Why.", way_out="Out.", warning=0.1, error=0.5)
    assert [rule.judge(count, 10).level for count in (1, 2, 5, 6)] == ["ok", "warning", "warning", "error"]
    assert rule.judge(0, 0).level == "ok"
    assert rule.judge(6, 10, ["x"]).line == "6 of 10, such as x. Why. Out."


def clicks_of_log(log: Log, random: np.random.Generator, size: int) -> Impressions:
    """Sampled impressions at some clicks of the log: the clicked item and others that were known before it."""
    rows = np.sort(random.choice(len(log.user), size, replace=False))
    item, clicked_P, sizes = [], [], []
    for row in rows:
        others = np.flatnonzero((log.known_at <= log.time[row]) & (np.arange(len(log.item_ids)) != log.item[row]))
        chosen = random.choice(others, min(9, len(others)), replace=False)
        item += [log.item[row], *chosen]
        clicked_P += [True, *[False] * len(chosen)]
        sizes.append(1 + len(chosen))
    return Impressions(
        user=log.user[rows],
        time=log.time[rows],
        offsets=np.concatenate([[0], np.cumsum(sizes)]),
        item=np.array(item, np.int32),
        clicked=np.array(clicked_P),
    )


@pytest.mark.parametrize("honest_dates", [True, False])
def test_a_publication_date_that_is_set_by_the_click_knows_the_label(honest_dates: bool) -> None:
    random = np.random.default_rng(3)
    number = 400
    acts = events((f"u{n % 30}", f"i{n}", 1 + n / 10) for n in range(number))
    hours = random.uniform(-40, 0, number) if honest_dates else 1 + np.arange(number) / 10
    catalogue_ = items([f"title {n}" for n in range(number)], published_at=[float(hour) for hour in hours])
    log = build_log(catalogue_, acts)
    found = leaks.telling_features(log, clicks_of_log(log, random, 300))
    if honest_dates:
        assert found.level == "ok", found
    else:
        assert found.level == "error"
        assert any(example.startswith("age_hours (") for example in found.examples), found
        few = leaks.telling_features(log, clicks_of_log(log, random, 20))
        assert few.level == "ok"
        assert "too few" in few.line
