"""Lets the calibration of a bundle go with the clicks since its cutoff. Knows no lake and no store.

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
from recsys_text.sections import Evaluation

Span = tuple[datetime, datetime]
#: How often what was clicked is looked at, counted from the cutoff. Every hour was hardly better.
EVERY = timedelta(hours=3)
#: Impressions of a day at most, and their candidates: they tell two numbers. Half of them told a little less.
MOST, PAIRS = 1000, 600_000
_DAY = timedelta(microseconds=MEMORY)


def followed(
    bundle: Bundle, log: Log, items: Items, time_N: Int64, *, windows: Sequence[Span], evaluation: Evaluation
) -> Bundle:
    """The bundle for scoring impressions at `time_N`, int64[N] in microseconds: its calibration knows newer clicks.

    At each of these times it goes with the clicks since its cutoff and of the day before the last look: impressions of
    the kind that is evaluated, or, where that is `window`, those of `windows` ([start, end) of all that the log has)
    that have ended. The order of scores stays. A score at a time depends neither on what comes after nor on what else
    is scored. What was logged counts once it is settled.
    """
    looks = _looks(bundle.cutoff, time_N, windows, evaluation)
    spans = sorted({span for look in looks for span in _spans(bundle.cutoff, look, windows, evaluation)})
    shown, known = [no_impressions()], [np.zeros(0, np.int64)]
    for start, end in spans:
        found = _clicked(bundle, log, (start, end), evaluation)
        shown.append(found)
        known.append(np.full(len(found), micros(end)))
    impressions = joined(shown)

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


def _looks(cutoff: datetime, time_N: Int64, windows: Sequence[Span], evaluation: Evaluation) -> list[datetime]:
    """When, at the latest before each of the times, was last looked at what had been clicked; ascending."""
    if evaluation.at == "window":
        ends = [end for start, end in windows if start >= cutoff]
        ended = np.unique(np.searchsorted([micros(end) for end in ends], time_N, side="right"))
        return [ends[count - 1] for count in ended if count]
    steps = np.unique((time_N - micros(cutoff)) // (EVERY // timedelta(microseconds=1)))
    return [cutoff + int(step) * EVERY for step in steps if step > 0]


def _spans(cutoff: datetime, look: datetime, windows: Sequence[Span], evaluation: Evaluation) -> list[Span]:
    """What is looked at: the spans since the cutoff that ended by then, and not more than a day before."""
    if evaluation.at == "window":
        spans = [(start, end) for start, end in windows if start >= cutoff]
    else:
        spans = [(look - (back + 1) * EVERY, look - back * EVERY) for back in range(_DAY // EVERY)]
    return [(start, end) for start, end in spans if start >= cutoff and look - _DAY < end <= look]


def _clicked(bundle: Bundle, log: Log, span: Span, evaluation: Evaluation) -> Impressions:
    """Some of the impressions of a span, the same ones whenever it is looked at."""
    begin, end = span
    most = float(MOST)
    if evaluation.at == "click" and len(log.logged) and log.logged.time[0] < micros(end):
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
        at=evaluation.at,
        max_impressions=max(1, round(most * share)),
        seed=evaluation.seed,
    )[0]
