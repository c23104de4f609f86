"""Lets the calibration of a bundle go with the clicks since its cutoff. Knows no lake and no store.

Days differ in how sure one can be of a click, and no day of the training tells how the next will be: see `follow`.
"""

from collections.abc import Sequence
from dataclasses import replace
from datetime import UTC, datetime, timedelta

import numpy as np
from numpy.typing import NDArray

from recsys_text.bundle import Bundle, features, in_parts
from recsys_text.model.text_model import Items
from recsys_text.ranking.calibrate import MEMORY, follow
from recsys_text.ranking.candidates import joined
from recsys_text.ranking.log import Impressions, Log, micros, no_impressions
from recsys_text.ranking.logged import evaluated_impressions
from recsys_text.sections import Evaluation

Span = tuple[datetime, datetime]
#: How often what was clicked is looked at.
EVERY = timedelta(hours=3)
#: Impressions of so much time at most: they tell two numbers.
MOST, _MEMORY = 1000, timedelta(microseconds=MEMORY)
_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)


def followed(
    bundle: Bundle,
    log: Log,
    items: Items,
    time_N: NDArray[np.int64],
    *,
    windows: Sequence[Span],
    evaluation: Evaluation,
) -> Bundle:
    """The bundle for scoring impressions at `time_N`, in microseconds: its calibration knows the clicks before each.

    Of the clicks since its cutoff those of the day before count, as impressions of the kind that is evaluated; where
    that is `window`, those of `windows`, [start, end) of all that the log has. The order of scores stays. A score at a
    time does not depend on what comes after, nor on what else is scored.
    """
    shown, known = [no_impressions()], [np.zeros(0, np.int64)]
    for start, end in _spans(bundle.cutoff, time_N, windows, evaluation):
        found, _ = evaluated_impressions(
            log,
            [(start, end)],
            bundle.candidates,
            at=evaluation.at,
            max_impressions=min(MOST, round(MOST * ((end - start) / _MEMORY))),
            seed=evaluation.seed,
        )
        shown.append(found)
        known.append(np.full(len(found), micros(end)))
    impressions = joined(shown)

    def raw(part: Impressions) -> NDArray[np.float64]:
        return bundle.blend.predict(features(bundle.text, bundle.neighbours, log, items, part)[1], threads=1)

    raw_P = np.concatenate([np.zeros(0), *in_parts(raw, bundle.text, log, impressions)])
    calibrator = follow(bundle.calibrator, raw_P, impressions.clicked, impressions.offsets, np.concatenate(known))
    return replace(bundle, calibrator=calibrator)


def _spans(cutoff: datetime, time_N: NDArray[np.int64], windows: Sequence[Span], evaluation: Evaluation) -> list[Span]:
    """The spans since the cutoff that have ended by the last of the times, and no longer than a day before the first.

    They are laid from the cutoff on, so that they are the same whatever is scored.
    """
    if not len(time_N):
        return []
    first, last = (_EPOCH + timedelta(microseconds=int(time)) for time in (time_N.min(), time_N.max()))
    if evaluation.at == "window":
        spans = [(start, end) for start, end in windows if start >= cutoff]
    else:
        ends = range(1, (last - cutoff) // EVERY + 1)
        spans = [(cutoff + (number - 1) * EVERY, cutoff + number * EVERY) for number in ends]
    return [(start, end) for start, end in spans if first - _MEMORY < end <= last]
