"""Decide from the clicks before the cutoff what the configuration leaves open. Knows no paths and no model.

What a key says counts; a key that is not set, or "auto", is decided here: which items are candidates, whether those
that a user had before are, whether the log's times tell an order of clicks, and how the text regression weighs what
texts share. Only training windows are looked at.

Shapes: E clicks that are looked at, T times, I items, S spans.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta

import numpy as np

from recsys_text.bundle import Bundle
from recsys_text.config import Settings
from recsys_text.model.collaborative import clicked_once
from recsys_text.model.kernel_choice import CURVES, PENALTIES, choose_kernel
from recsys_text.ranking.candidates import in_pool
from recsys_text.ranking.log import Bool, Int64, Log, micros
from recsys_text.ranking.publication import publications
from recsys_text.ranking.timeline import Ints
from recsys_text.sections import Candidates, Model
from recsys_text.sections.base import Section

Span = tuple[datetime, datetime]

#: Clicks that are looked at: a share of them is known to half a percent.
_CLICKS = 20_000
#: The newest third of the windows is looked at: clicks of the first ones have no past.
_NEWEST = 3
#: Spans after which an item may leave the pool.
_SPANS = tuple(timedelta(hours=hours) for hours in (6, 12, 24, 48, 72, 120, 168, 240, 336, 504, 720, 1080, 1440, 2160))
#: Items age where a pool of at most this share of the catalogue holds at least that share of the clicks.
_MOST_ITEMS, _LEAST_CLICKS = 0.25, 0.9
#: Times at which the pool is counted.
_TIMES = 5
#: Users repeat items where so many of their clicks do.
_REPEATS = 0.05
#: A log has no order within its times where so many clicks share theirs with another of their user.
_TOGETHER = 0.5


@dataclass(frozen=True, kw_only=True)
class Decided:
    """The settings with all that was open decided, and a line for each decision that says what it was made from."""

    settings: Settings
    lines: tuple[str, ...]


def decide(log: Log, texts: Sequence[str], spans: Sequence[Span], settings: Settings) -> Decided:
    """Decide what the settings leave open from the clicks in the training windows [start, end), which ascend.

    Nothing at or after the end of the last window counts. Where no click is in them, all stays as it is. texts: one of
    each item of the log.
    """
    start, end = spans[-max(1, len(spans) // _NEWEST)][0], spans[-1][1]
    clicks_E = np.flatnonzero(log.positive & (log.time >= micros(start)) & (log.time < micros(end)))
    if not len(clicks_E):
        return Decided(settings=settings, lines=())
    if len(clicks_E) > _CLICKS:
        draw = np.random.default_rng(settings.training.seed)
        clicks_E = np.sort(draw.choice(clicks_E, _CLICKS, replace=False))
    lines: list[str] = []
    candidates, evaluation = settings.candidates, settings.evaluation
    if not {"pool", "active", "fresh"} & candidates.model_fields_set:
        span, line = _pool(log, clicks_E, micros(start), micros(end))
        lines.append(line)
        changes = {"pool": "all"} if span is None else {"pool": "alive", "active": span, "fresh": span}
        candidates = candidates.model_copy(update=changes)
    if "repeat" not in candidates.model_fields_set:
        served = publications(spans, settings.schedule.refresh)
        share = float(np.mean(_repeated(log, clicks_E, served.before(log.time[clicks_E]))))
        repeat = share >= _REPEATS
        told = "stay candidates" if repeat else "are no candidates"
        lines.append(f"Items that a user had before {told}: {share:.1%} of clicks are on such (candidates.repeat)")
        candidates = candidates.model_copy(update={"repeat": repeat})
    # Clicks of one impression share its time, and what was shown is ranked at that time whatever the order of clicks.
    logged = len(log.logged) > 0 and log.logged.time[0] < micros(end)
    if "at" not in evaluation.model_fields_set and not logged:
        share = float(np.mean(_together(log)[clicks_E]))
        at = "window" if share >= _TOGETHER else "click"
        told = "once for each user at the start of a window" if at == "window" else "at each click"
        lines.append(
            f"Ranked {told}: {share:.1%} of clicks share their time with another of their user (evaluation.at)"
        )
        evaluation = evaluation.model_copy(update={"at": at})
    model, of_model = _kernel(log, texts, micros(spans[0][0]), micros(end), settings)
    sections = {"candidates": candidates, "evaluation": evaluation, "model": model}
    return Decided(settings=settings.model_copy(update=sections), lines=(*lines, *of_model))


def as_decided(settings: Settings, bundle: Bundle) -> Settings:
    """The settings with what they leave open as it was decided for a bundle, which a warm start goes on with."""
    decisions: dict[str, tuple[Section, Section]] = {
        "candidates": (settings.candidates, bundle.candidates),
        "model": (settings.model, bundle.text.settings),
        "evaluation": (settings.evaluation, settings.evaluation.model_copy(update={"at": bundle.at})),
    }
    return settings.model_copy(
        update={
            name: own.model_copy(update={key: getattr(former, key) for key in type(own).AUTO - own.model_fields_set})
            for name, (own, former) in decisions.items()
        }
    )


def _kernel(log: Log, texts: Sequence[str], start: int, end: int, settings: Settings) -> tuple[Model, tuple[str, ...]]:
    """The model with a curve and a penalty for its text regression, and what is said of them."""
    model, open_keys = settings.model, {"curve", "penalty"} - settings.model.model_fields_set
    if not open_keys:
        return model, ()
    before = log.positive & (log.time >= start) & (log.time < end)
    clicks_UI = clicked_once(log.user[before], log.item[before], (len(log.user_ids), len(log.item_ids)))
    kernel = choose_kernel(
        texts,
        clicks_UI,
        settings.training.seed,
        curves=CURVES if "curve" in open_keys else [model.curve],
        penalties=PENALTIES if "penalty" in open_keys else [model.penalty],
    )
    if kernel is None:  # the default counts, and that is decided
        return model.model_copy(update={key: getattr(model, key) for key in open_keys}), ()
    line = (
        f"Text regression with curve {kernel.curve:g} and penalty {kernel.penalty:g}: they rank items held out best, "
        f"nDCG@10 {kernel.ndcg:.3f} (model.curve, model.penalty)"
    )
    return model.model_copy(update={"curve": kernel.curve, "penalty": kernel.penalty}), (line,)


def _pool(log: Log, clicks_E: Int64, start: int, end: int) -> tuple[timedelta | None, str]:
    """The longest span after which items leave the pool that makes it small, None where none holds enough clicks."""
    spans_S = np.array([span // timedelta(microseconds=1) for span in _SPANS])
    quiet_E = _quiet(log, log.item[clicks_E], log.time[clicks_E])
    held_S = np.mean(quiet_E[:, None] <= spans_S, axis=0)
    every, kept_TS = np.arange(len(log.item_ids)), []
    for time in np.linspace(start, end, _TIMES + 1)[1:].astype(np.int64):
        known = every[(log.known_at < time) & (log.expires_at > time)]
        quiet_I = _quiet(log, known, np.full(len(known), time))
        kept_TS.append(np.mean(quiet_I[:, None] <= spans_S, axis=0) if len(known) else np.ones(len(spans_S)))
    items_S = np.mean(kept_TS, axis=0)
    small = np.flatnonzero((items_S <= _MOST_ITEMS) & (held_S >= _LEAST_CLICKS))
    if not len(small):
        largest = np.searchsorted(items_S, _MOST_ITEMS, side="right")
        held = held_S[largest - 1] if largest else 0.0
        return None, (
            f"Candidates are all items: the quarter of them that was new or clicked last holds {held:.0%} of the "
            "clicks (candidates.pool)"
        )
    best = small[-1]
    span = _SPANS[best]
    told = f"{span // timedelta(days=1)} days" if span > timedelta(days=2) else f"{span // timedelta(hours=1)} hours"
    return span, (
        f"Candidates are the items that were new or clicked in {told}: they are {items_S[best]:.0%} of all and hold "
        f"{held_S[best]:.0%} of the clicks (candidates.active, candidates.fresh)"
    )


def _quiet(log: Log, items: Ints, times: Int64) -> Int64:
    """Microseconds since each item was clicked last, or became known, strictly before its time."""
    clicks = log.clicks_of_item
    stop = clicks.stop(items, clicks.rank(times))
    known = times - log.known_at[items]
    clicked = stop > clicks.begin(items)
    since = known.copy()
    since[clicked] = np.minimum(known[clicked], times[clicked] - clicks.times(stop[clicked] - 1))
    return np.where(known >= 0, since, np.iinfo(np.int64).max)


def _repeated(log: Log, clicks_E: Int64, times_E: Int64) -> Bool:
    """Whether each click is on an item that its user had before the scores that served it were published."""
    users_E, items_E = log.user[clicks_E], log.item[clicks_E]
    new, any_item = (Candidates(pool="all", repeat=repeat) for repeat in (False, True))
    return in_pool(log, times_E, users_E, items_E, any_item) & ~in_pool(log, times_E, users_E, items_E, new)


def _together(log: Log) -> Bool:
    """Whether each event shares its time with another positive event of its user; events ascend in time."""
    order = np.lexsort((log.time, log.user))
    order = order[log.positive[order]]
    same = (np.diff(log.user[order]) == 0) & (np.diff(log.time[order]) == 0)
    found = np.zeros(len(log.time), np.bool_)
    found[order[1:][same]] = True
    found[order[:-1][same]] = True
    return found
