"""What the log says of items as of a time, whoever the user is. Knows timelines and the log, no user and no model.

Shapes: N impressions, P pairs of an impression and a candidate, Q questions, T distinct times.
"""

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from recsys_text.ranking.log import HOUR, Impressions, Log
from recsys_text.ranking.sums import Rates, Sums
from recsys_text.ranking.timeline import Int64, Ints, Times

Float32 = NDArray[np.float32]

_DAY = 24 * HOUR
#: Events of the usual value, and impressions of the usual rate, that the mean of an item starts with.
_VALUES, _SHOWN = 5.0, 20.0
#: Clicks that repeat nothing, which the share of an item's clicks that do starts with.
_DOUBT = 5.0
#: Spans, in microseconds, in which clicks on an item are counted, by column.
CLICK_SPANS = {
    "clicks_30m": HOUR // 2, "clicks_2h": 2 * HOUR, "clicks_6h": 6 * HOUR, "clicks_24h": _DAY,
    "clicks_7d": 7 * _DAY, "clicks_28d": 28 * _DAY,
}  # fmt: skip
#: Spans in which the first clicks of users are counted: what newcomers take.
FIRST_SPANS = {"first_clicks_7d": 7 * _DAY, "first_clicks_28d": 28 * _DAY}
#: Spans in which clicks of users in one state are counted; see `ranking.states`.
ALIKE_SPANS = {"alike_2h": 2 * HOUR, "alike_24h": _DAY}
#: Spans of the click rate; None is for ever.
RATE_SPANS: dict[str, int | None] = {"click_rate": None, "click_rate_24h": _DAY}
#: The columns of `item_state` that are hours.
AGES = ("age_hours", "since_click_hours", "since_first_click_hours")
#: The columns of `item_state`.
ITEM_COLUMNS = (*CLICK_SPANS, "clicks_total", *FIRST_SPANS, *AGES, *RATE_SPANS, "value", "item_repeat_share")


@dataclass(frozen=True, kw_only=True, eq=False)
class Questions:
    """Q questions about a group of events (an item, for one) as of a time: `times[at[q]]`, of T distinct times."""

    group: Ints
    times: Int64
    at: Int64

    def stop(self, events: Times, before: int = 0) -> Int64:
        """One past the last event of each group strictly before `before` microseconds before its time."""
        return events.stop(self.group, events.rank(self.times - before)[self.at])

    def counts(self, events: Times, spans: dict[str, int]) -> dict[str, Float32]:
        """How many events of each group lie in each span before its time, float32[Q] for each span."""
        stop_Q = self.stop(events)
        return {name: (stop_Q - self.stop(events, span)).astype(np.float32) for name, span in spans.items()}


def asked_once(
    impressions: Impressions, group_P: Ints, groups: int, answer: Callable[[Questions], dict[str, Float32]]
) -> dict[str, Float32]:
    """Answer a question about each pair's group as of its impression's time, float32[P] for each column.

    Where many users are ranked at few times, as when scores are published, each group is asked once for each time.
    """
    times, which_N = np.unique(impressions.time, return_inverse=True)
    at_P = which_N[impressions.row]
    if len(times) * groups >= len(group_P):
        return answer(Questions(group=group_P, times=times, at=at_P))
    every = np.tile(np.arange(groups), len(times))
    found = answer(Questions(group=every, times=times, at=np.repeat(np.arange(len(times)), groups)))
    place_P = at_P * groups + group_P
    return {name: values[place_P] for name, values in found.items()}


def item_state(log: Log, impressions: Impressions) -> dict[str, Float32]:
    """Return the columns of ITEM_COLUMNS, float32[P] each, from events strictly before each impression.

    clicks_*: positive events on the item in a span, and all; first_clicks_*: those of them that were the first of
    their user; age_hours: since the item is known; since_click_hours, since_first_click_hours: since its last and its
    first click, or its age where it has none; click_rate*: the share of its logged impressions that were clicked, 0
    where nothing is logged; value: how far the mean value of its events is above that of all, 0 where none has one.
    item_repeat_share: of its clicks the share by users who had clicked it earlier, shrunk to 0 where
    they are few. Rates and values are shrunk to what is usual where little is known.
    """
    return asked_once(
        impressions,
        impressions.item,
        len(log.item_ids),
        lambda asked: (
            _clicks_and_ages(log, asked) | _click_rates(log, asked) | _values(log, asked) | _repeats(log, asked)
        ),
    )


def clicks_of_alike(log: Log, impressions: Impressions, arrives_N: NDArray[np.bool_]) -> dict[str, Float32]:
    """Count the clicks on each candidate by users in the state that its user is in, float32[P] for each span.

    arrives_N: whether the user of each impression arrives with it, or reads on; see `ranking.states`.
    """
    group_P = impressions.item.astype(np.int64) * 2 + arrives_N[impressions.row]
    return asked_once(
        impressions, group_P, 2 * len(log.item_ids), lambda asked: asked.counts(log.clicks_of_arrival, ALIKE_SPANS)
    )


def shrunk_means(
    known: Sums | Rates, asked: Questions, spans: dict[str, int | None], weight: float
) -> tuple[dict[str, NDArray[np.float64]], NDArray[np.float64]]:
    """Return the mean value of each group's events in the last microseconds of each span (None: ever), float64[Q] each.

    Shrunk to the mean of all events before the time, the second result, by as much as `weight` events weigh; 0 before
    the first event. known: of events by group.
    """
    now_T = known.rank(asked.times)
    all_T, total_T = known.overall(now_T)
    usual_Q = (total_T / np.maximum(all_T, 1))[asked.at]
    means = {}
    for name, span in spans.items():
        since_Q = None if span is None else known.rank(asked.times - span)[asked.at]
        count_Q, total_Q = known.within(asked.group, since_Q, now_T[asked.at])
        means[name] = (total_Q + weight * usual_Q) / (count_Q + weight)
    return means, usual_Q


def _clicks_and_ages(log: Log, asked: Questions) -> dict[str, Float32]:
    clicks, now_Q = log.clicks_of_item, asked.times[asked.at]
    begin_Q, stop_Q = clicks.begin(asked.group), asked.stop(clicks)
    age_Q = np.maximum(now_Q - log.known_at[asked.group], 0)
    some_Q = stop_Q > begin_Q

    def since(place_Q: Int64) -> Float32:
        since_Q = age_Q.copy()
        since_Q[some_Q] = now_Q[some_Q] - clicks.times(place_Q[some_Q])
        return np.asarray(since_Q / HOUR, np.float32)

    return (
        asked.counts(clicks, CLICK_SPANS)
        | {"clicks_total": (stop_Q - begin_Q).astype(np.float32)}
        | asked.counts(log.first_clicks_of_item, FIRST_SPANS)
        | {
            "age_hours": (age_Q / HOUR).astype(np.float32),
            "since_click_hours": since(stop_Q - 1),
            "since_first_click_hours": since(begin_Q),
        }
    )


def _click_rates(log: Log, asked: Questions) -> dict[str, Float32]:
    if not len(log.logged):
        return {name: np.zeros(len(asked.group), np.float32) for name in RATE_SPANS}
    means, _ = shrunk_means(log.shown_rates, asked, RATE_SPANS, _SHOWN)
    return {name: mean_Q.astype(np.float32) for name, mean_Q in means.items()}


def _values(log: Log, asked: Questions) -> dict[str, Float32]:
    means, usual_Q = shrunk_means(log.value_sums, asked, {"value": None}, _VALUES)
    return {"value": (means["value"] - usual_Q).astype(np.float32)}


def _repeats(log: Log, asked: Questions) -> dict[str, Float32]:
    count_Q, repeated_Q = (
        asked.stop(events) - events.begin(asked.group) for events in (log.clicks_of_item, log.repeats_of_item)
    )
    return {"item_repeat_share": (repeated_Q / (count_Q + _DOUBT)).astype(np.float32)}
