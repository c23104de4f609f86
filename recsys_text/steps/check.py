"""Check: what is wrong with a user's data, before a model learns from it. Knows the lake, no model."""

from collections.abc import Sequence
from contextlib import suppress
from datetime import UTC, datetime

import polars as pl

from recsys_text.config import Settings
from recsys_text.errors import ConfigError, RecsysTextError
from recsys_text.evaluation.checks import Finding, catalogue, leaks, people, shown, snapshots, teaching, times
from recsys_text.evaluation.checks.windows import missing
from recsys_text.evaluation.freshness import drawn
from recsys_text.lake.extract import event_times
from recsys_text.lake.store import Lake
from recsys_text.lake.windows import Window, parse_window
from recsys_text.ranking.log import build_log
from recsys_text.ranking.logged import evaluated_impressions, take, with_logged
from recsys_text.steps.inputs import the_lake, windows_of

# Candidates that features are computed of: an AUC of some hundred impressions says enough.
_CANDIDATES = 300_000


def check(settings: Settings, windows: Sequence[Window] | None = None, *, now: datetime | None = None) -> list[Finding]:
    """Looks at these windows of the lake (all by default) and the items up to the last of them; writes nothing.

    Raises ConfigError for a window that the lake lacks, ContractError where it has none.
    """
    there = windows_of(settings)
    chosen = sorted(windows) if windows is not None else there
    if unknown := [window.key for window in chosen if window not in there]:
        raise ConfigError(f"window '{unknown[0]}' is not in the lake; extract it first")
    lake, keys = the_lake(settings), [window.key for window in chosen]
    items_keys = [key for key in lake.keys("items") if key <= keys[-1]]
    items, events = lake.items(items_keys, grace=settings.sources.items.grace), lake.read("events", keys)
    impressions = lake.read("impressions", sorted(set(lake.keys("impressions")) & set(keys)))
    dropped = sum(lake.manifest("events", key)["duplicates"] for key in keys)
    positive = settings.sources.events.positive
    cut = times.cut(events, ordered=settings.evaluation.at == "window")
    found = [
        teaching.no_event(events, len(chosen), _source_times(settings) if events.is_empty() else None),
        teaching.nothing_wanted(events, positive),
        teaching.one_user(events),
        teaching.null_users(events),
        teaching.null_titles(items),
        missing([window.start for window in chosen], settings.windows.span),
        times.future(events, items, impressions, now or datetime.now(UTC)),
        times.future_items(items, chosen[-1].end),
        times.before_publication(events, items, positive),
        times.after_expiry(events, items, positive),
        *cut,
        catalogue.unknown_items(events, items, positive),
        _vanished(settings, events.filter(pl.col("window") == keys[-1]), items, items_keys, chosen[-1]),
        snapshots.left(items),
        *_differing(lake, items_keys[-1:]),
        *catalogue.titles(items),
        people.repeated(events, dropped),
        people.copied(events, settings.windows.span),
        people.duplicated_users(events, positive),
        people.inhuman(events, cut=any(each.level != "ok" for each in cut), positive=positive),
    ]
    if len(impressions):
        found += [
            teaching.unknown_candidates(impressions, items),
            shown.shown_twice(impressions),
            *shown.labels(impressions),
            *shown.clocks(impressions, events, positive),
        ]
    return [*found, _leaks(settings, items, events, impressions, chosen)]


def _differing(lake: Lake, newest: Sequence[str]) -> list[Finding]:
    """What the newest window of items, if there is one, says of rows that differed."""
    manifests = [lake.manifest("items", key) for key in newest]
    # Windows of older versions of this package do not tell.
    return [snapshots.differing(each["conflicts"], each["rows"]) for each in manifests if "conflicts" in each]


def _vanished(
    settings: Settings, clicks: pl.DataFrame, items: pl.DataFrame, keys: Sequence[str], last: Window
) -> Finding:
    """What the newest window of items lacks; nothing where the project says that its windows bring changes.

    keys: of the windows of items; where there is none, `last` stands for it.
    """
    source, present = settings.sources.items, the_lake(settings).read("items", keys[-1:])
    changes = source.feed == "changes"
    newest = parse_window(keys[-1], settings.windows.span) if keys else last
    positive, as_seen = settings.sources.events.positive, present if changes else items
    return catalogue.vanished(clicks, as_seen, present, newest.start, newest.end, positive)


def _source_times(settings: Settings) -> tuple[datetime, datetime] | None:
    """The first and the last time of the source's events; None where it has none, or cannot be read now."""
    with suppress(RecsysTextError):  # a check of the lake must not fail with its source
        return event_times(settings.sources.events)
    return None


def _leaks(
    settings: Settings, items: pl.DataFrame, events: pl.DataFrame, impressions: pl.DataFrame, windows: Sequence[Window]
) -> Finding:
    """What the features of the newest windows tell of their clicks."""
    log, chosen = (
        with_logged(build_log(items, events, positive=settings.sources.events.positive), impressions),
        settings.evaluation,
    )
    found, _ = evaluated_impressions(
        log,
        [(window.start, window.end) for window in windows[-chosen.windows :]],
        settings.candidates,
        at=chosen.at,
        max_impressions=chosen.max_impressions,
        seed=chosen.seed,
    )
    few = take(found, drawn(found, _CANDIDATES, chosen.seed)) if len(found) else found
    return leaks.telling_features(log, few)
