"""Whether a log can teach and be measured, found in seconds before anything is trained. Knows no paths and no MLflow.

The windows of the text model, those of the blend and those of the test each need clicks of a kind that the settings
admit. Where one has none, the settings that would admit some are found by trying them.
"""

import itertools
from collections.abc import Callable, Iterator, Sequence
from datetime import datetime

import numpy as np

from recsys_text.config import Settings
from recsys_text.errors import ContractError
from recsys_text.evaluation.guards import FEWEST
from recsys_text.fitting.ranker import FEWEST_USERS, blend_windows
from recsys_text.ranking.log import Impressions, Int64, Log, micros
from recsys_text.ranking.logged import evaluated_impressions, teaching_impressions

Span = tuple[datetime, datetime]
_Sampler = Callable[[Log, Sequence[Span], Settings], Impressions]

#: Impressions that are looked at in each part: enough to meet a second user and a pool with more than the click.
_SAMPLE = 100
#: Windows without which no part of the training has one of its own.
FEWEST_WINDOWS = 3
#: The next shorter length of windows, where there is one.
_SHORTER = {"7d": "1d", "1d": "1h"}


def filled(log: Log, spans: Sequence[Span]) -> list[Span]:
    """The spans in which the log has an event or an impression; `spans` ascend."""
    return [span for span in spans if _holds(log.time, span) or _holds(log.logged.time, span)]


def check_teachable(
    log: Log, starts: Sequence[datetime], cutoff: datetime, tests: Sequence[Span], settings: Settings
) -> None:
    """Raises ContractError, in one line with the way out, where a training would end without a model or a measure.

    Args:
        log: up to the end of the last test window. starts: of the windows that train, oldest first, before `cutoff`.
        tests: the windows that measure.
    """
    if not len(log.time):
        raise ContractError(
            "no event is in any window of the lake; `recsys-text check` says more, and `recsys-text extract --from "
            "--to` with the span of your events brings them"
        )
    if not np.any(log.time < micros(cutoff)):
        raise ContractError(
            f"all events are at {cutoff:%Y-%m-%dT%H:%MZ} or later, and nothing is left to learn from before "
            "the windows that measure; extract older windows, or check occurred_at of sources.events"
        )
    wanted = ", ".join(settings.sources.events.positive)
    if not np.any(log.positive & (log.time < micros(cutoff))):
        raise ContractError(
            f"no event before {cutoff:%Y-%m-%dT%H:%MZ} says that a user wanted an item, as {wanted} do; map your types "
            "to them (sources.events.event_types), or name those that say so (sources.events.positive)"
        )
    if len(starts) < FEWEST_WINDOWS:
        length = _SHORTER.get(settings.windows.length)
        shorter = f" or set windows.length = '{length}'," if length else ""
        raise ContractError(
            f"training needs {FEWEST_WINDOWS} windows with events before {cutoff:%Y-%m-%dT%H:%MZ}, and the lake has "
            f"{len(starts)}; extract older windows,{shorter} or give a later --cutoff"
        )
    if len(log.item_ids) < 2:
        raise ContractError(
            f"the catalogue has {len(log.item_ids)} item, and there is nothing to rank it against; extract more items"
        )
    bounds = [*starts, cutoff]
    first_of_blend = len(starts) - blend_windows(log, bounds, settings)
    parts: list[tuple[str, list[Span], _Sampler]] = [
        ("that teach the blend", list(itertools.pairwise(bounds[first_of_blend:])), _evaluated),
        ("that measure the model", list(tests), _evaluated),
    ]
    if settings.training.task == "next":
        parts = [("that teach the text model", [(starts[0], starts[first_of_blend - 1])], _teaching), *parts]
    for what, spans, sample in parts:
        if not _useful(sample(log, spans, settings)):
            raise ContractError(
                f"no click of the windows {what}, {spans[0][0]:%Y-%m-%dT%H:%MZ} to {spans[-1][1]:%Y-%m-%dT%H:%MZ}, is "
                f"in its candidate pool beside another item; {_way_out(log, spans, settings, sample)}"
            )
    users = len(np.unique(_evaluated(log, parts[-2][1], settings).user))
    if users < FEWEST_USERS:
        raise ContractError(
            f"the windows that teach the blend have clicks of {users} user: too few to teach it by some and to "
            "calibrate it by others; extract windows with more users"
        )


def doubts(
    log: Log, starts: Sequence[datetime], cutoff: datetime, tests: Sequence[Span], settings: Settings
) -> list[str]:
    """What will make a model poor that `check_teachable` lets pass, each in one line with the way out."""
    bounds = [*starts, cutoff]
    first_of_blend = len(starts) - blend_windows(log, bounds, settings)
    found = []
    blend = list(itertools.pairwise(bounds[first_of_blend:]))
    for what, spans in (("teach the blend", blend), ("measure", list(tests))):
        told = f"the windows that {what}, {spans[0][0]:%Y-%m-%dT%H:%MZ} to {spans[-1][1]:%Y-%m-%dT%H:%MZ}"
        shown, outside = _measured(log, spans, settings, _SAMPLE)
        within = (log.time >= micros(spans[0][0])) & (log.time < micros(spans[-1][1]))
        clicks = int(np.sum(log.positive & within))
        if not len(log.logged) and outside * 2 > clicks:
            wider = "all" if settings.candidates.pool == "alive" else "alive"
            found.append(
                f"{outside:,} of {clicks:,} clicks of {told}, are outside their candidate pool and say nothing: try "
                f"candidates.pool = '{wider}', or longer candidates.active and candidates.fresh"
            )
        elif (users := len(np.unique(shown.user))) < FEWEST:
            found.append(
                f"{told}, have clicks of {users} {'user' if users == 1 else 'users'} that can be ranked, and fewer "
                f"than {FEWEST} decide nothing: set evaluation.windows higher, or extract more users"
            )
    return found


def _way_out(log: Log, spans: Sequence[Span], settings: Settings, sample: _Sampler) -> str:
    """The first change of settings with which these windows would teach."""
    now = {"candidates.pool": settings.candidates.pool, "evaluation.at": settings.evaluation.at}
    for changes in _changes(settings):
        candidates = settings.candidates.model_copy(update={"pool": changes["candidates.pool"]})
        evaluation = settings.evaluation.model_copy(update={"at": changes["evaluation.at"]})
        changed = settings.model_copy(update={"candidates": candidates, "evaluation": evaluation})
        if _useful(sample(log, spans, changed)):
            told = [f"{key} = '{value}'" for key, value in changes.items() if now[key] != value]
            return f"set {' and '.join(told)}"
    within = (log.time >= micros(spans[0][0])) & (log.time < micros(spans[-1][1]))
    if not np.any(log.positive & within):
        return "they have no event that says that a user wanted an item (sources.events.positive); extract some that do"
    return (
        "their items became known later, or their users had consumed them before: check published_at of the items, or "
        "extract more items and windows"
    )


def _changes(settings: Settings) -> Iterator[dict[str, str]]:
    for at in (settings.evaluation.at, "window"):
        for pool in ("alive", "all"):
            yield {"candidates.pool": pool, "evaluation.at": at}


def _evaluated(log: Log, spans: Sequence[Span], settings: Settings) -> Impressions:
    """Some of what teaches the blend and what is measured."""
    return _measured(log, spans, settings, _SAMPLE)[0]


def _measured(log: Log, spans: Sequence[Span], settings: Settings, most: int) -> tuple[Impressions, int]:
    """At most so many impressions, and how many clicks are outside their pool."""
    at, seed = settings.evaluation.at, settings.training.seed
    return evaluated_impressions(log, spans, settings.candidates, at=at, max_impressions=most, seed=seed)


def _teaching(log: Log, spans: Sequence[Span], settings: Settings) -> Impressions:
    """Some of what teaches the text model."""
    (start, _), (_, end) = spans[0], spans[-1]
    seed = settings.training.seed
    return teaching_impressions(log, start, end, settings.candidates, max_impressions=_SAMPLE, seed=seed, negatives=1)


def _useful(found: Impressions) -> bool:
    """Whether one of them has a clicked candidate and another."""
    clicks_N = np.bincount(found.row[found.clicked], minlength=len(found))
    return bool(np.any((clicks_N > 0) & (clicks_N < np.diff(found.offsets))))


def _holds(time: Int64, span: Span) -> bool:
    low, high = np.searchsorted(time, [micros(span[0]), micros(span[1])])
    return bool(low < high)
