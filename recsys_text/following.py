"""Recalibrate a bundle with the clicks since its cutoff. Knows no lake and no store.

Days differ in how sure one can be of a click, and no day of the training tells how the next will be: see `follow`.
Shapes: N scored impressions.
"""

from collections.abc import Sequence
from dataclasses import replace
from datetime import datetime, timedelta

import numpy as np

from recsys_text.bundle import Bundle, raw_scores
from recsys_text.model.text_model import Items
from recsys_text.ranking.calibrate import MEMORY, follow
from recsys_text.ranking.candidates import joined, pool_sizes
from recsys_text.ranking.log import Impressions, Int64, Log, micros, no_impressions
from recsys_text.ranking.logged import evaluated_impressions
from recsys_text.ranking.publication import as_published, publications, useful

Span = tuple[datetime, datetime]
#: How often what was clicked is looked at, counted from the cutoff. Every hour was hardly better.
EVERY = timedelta(hours=3)
#: Impressions of a day at most, and their candidates: they tell two numbers. Half of them told a little less.
MOST, PAIRS = 1000, 600_000
_DAY = timedelta(microseconds=MEMORY)


def followed(
    bundle: Bundle,
    log: Log,
    items: Items,
    time_N: Int64,
    *,
    windows: Sequence[Span],
    refresh: timedelta | None,
    seed: int,
) -> Bundle:
    """Recalibrate a bundle for scoring impressions at the times `time_N`, int64[N] in microseconds.

    For each time the calibration is adjusted to the clicks of the day before the last look, of those since the cutoff.
    A look is every EVERY hours, or, for a bundle that ranks at the start of a window, at the end of each window. The
    clicks are measured as the bundle is, with the scores that were published before them. The order of scores stays. A
    score at a time depends neither on later events nor on what else is scored; logged impressions count once they are
    settled.

    Args:
        windows: [start, end) of all windows that the log has.
        refresh: how often scores are published within a window, None for once.
    """
    looks = _looks(bundle, time_N, windows)
    spans = sorted({span for look in looks for span in _spans(bundle, look, windows)})
    served = publications(windows, refresh)
    shown, known = [no_impressions()], [np.zeros(0, np.int64)]
    for start, end in spans:
        found, _ = useful(log, as_published(_clicked(bundle, log, (start, end), seed), served))
        shown.append(found)
        known.append(np.full(len(found), micros(end)))
    impressions = replace(joined(shown), horizon=served.horizon)

    raw_P = raw_scores(bundle.blend, bundle.text, bundle.neighbours, log, items, impressions)
    calibrator = follow(
        bundle.calibrator,
        raw_P,
        impressions.clicked,
        impressions.offsets,
        np.concatenate(known),
        [micros(look) for look in looks],
    )
    return replace(bundle, calibrator=calibrator)


def _looks(bundle: Bundle, time_N: Int64, windows: Sequence[Span]) -> list[datetime]:
    """When, at the latest before each of the times, was last looked at what had been clicked; ascending."""
    if bundle.at == "window":
        ends = [end for start, end in windows if start >= bundle.cutoff]
        ended = np.unique(np.searchsorted([micros(end) for end in ends], time_N, side="right"))
        return [ends[count - 1] for count in ended if count]
    steps = np.unique((time_N - micros(bundle.cutoff)) // (EVERY // timedelta(microseconds=1)))
    return [bundle.cutoff + int(step) * EVERY for step in steps if step > 0]


def _spans(bundle: Bundle, look: datetime, windows: Sequence[Span]) -> list[Span]:
    """What is looked at: the spans since the cutoff that ended by then, and not more than a day before."""
    if bundle.at == "window":
        spans = [(start, end) for start, end in windows if start >= bundle.cutoff]
    else:
        spans = [(look - (back + 1) * EVERY, look - back * EVERY) for back in range(_DAY // EVERY)]
    return [(start, end) for start, end in spans if start >= bundle.cutoff and look - _DAY < end <= look]


def _clicked(bundle: Bundle, log: Log, span: Span, seed: int) -> Impressions:
    """Some of the impressions of a span, the same ones whenever it is looked at."""
    begin, end = span
    most = float(MOST)
    if bundle.at == "click" and len(log.logged) and log.logged.time[0] < micros(end):
        # What settles in the span. The clicks before the cutoff have taught the bundle.
        begin -= min(timedelta(microseconds=log.settle), begin - bundle.cutoff)
        low, high = np.searchsorted(log.logged.time, [micros(begin), micros(end)])
        if low == high:
            return no_impressions()  # pools are no match for the lists that are shown since
    else:
        pool = int(pool_sizes(log, np.array([micros(begin)]), bundle.candidates)[0])
        most = min(most, PAIRS / max(1, pool))
    share = min(1.0, (span[1] - span[0]) / _DAY)
    return evaluated_impressions(
        log,
        [(begin, end)],
        bundle.candidates,
        at=bundle.at,
        max_impressions=max(1, round(most * share)),
        seed=seed,
    )[0]
