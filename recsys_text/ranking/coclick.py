"""How often candidates were clicked after the items of a user's history, as of a time. Knows no model.

Two readings of it: `coclick` takes the whole history and what came up to five clicks later, which says what belongs
together; `following` takes the newest click and the very next one, which says where a page leads. Both look at the
newest clicks on an item alone (`transitions.NEWEST`).

Shapes: N impressions, R of them at a time, P pairs of an impression and a candidate, H clicks of a history, M
transitions.
"""

from collections.abc import Iterator
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from recsys_text.ranking.log import HOUR, Bool, Impressions, Int32, Int64, Log
from recsys_text.ranking.transitions import WINDOW

Float32 = NDArray[np.float32]
Doubles = NDArray[np.float64]

#: The weight of the k-th newest click of a history is DECAY ** k.
DECAY = 0.85
#: Hours within which a transition counts, by column, the shortest first; None is for ever.
SPANS: dict[str, int | None] = {"6h": 6, "24h": 24, "total": None}
#: Hours within which a next click counts, by column, the shortest first.
NEXT_SPANS: dict[str, int | None] = {"2h": 2, "24h": 24, "total": None}
#: Next clicks without a candidate that are added to those seen: a share of few is no evidence.
_DOUBT = 3
#: Clicks that are looked at together, and sums of impressions and candidates: some tens of megabytes.
_CLICKS, _SUMS = 1 << 15, 1 << 20


def coclick(log: Log, impressions: Impressions, history_NH: Int32) -> dict[str, Float32]:
    """The transitions from a user's history to each candidate strictly before the impression's time.

    history_NH as from `histories`. For each span s of SPANS, `coclick_s` is the sum over the history of DECAY ** k
    times the share of the transitions from that click's item which led to the candidate; `coclick_last_s` is the
    share for the newest click alone. float32[P] each, 0 without evidence.
    """
    names = [f"{kind}_{span}" for kind in ("coclick", "coclick_last") for span in SPANS]
    columns = {name: np.zeros(len(impressions.item), dtype=np.float32) for name in names}
    length = history_NH.shape[1]
    weight_H = DECAY ** np.arange(length)[::-1]
    for part in _parts(log, impressions, history_NH, WINDOW):
        for span, led in part.within(SPANS):
            share_RH = 1 / np.maximum(led.per_click(), 1)
            columns[f"coclick_{span}"][part.pairs] = led.to_candidates(share_RH * weight_H)
            newest = led.where(part.newest_Q[led.question])
            columns[f"coclick_last_{span}"][part.pairs] = newest.to_candidates(share_RH)
    return columns


def following(log: Log, impressions: Impressions, newest_N: Int32) -> dict[str, Float32]:
    """The users who went from the newest click straight to each candidate, before the impression's time.

    newest_N: the item of each user's newest click, -1 for none. For each span s of NEXT_SPANS, `next_s` counts them
    and `next_share_s` is their share of all who went on from that item, shrunk to 0 where these are few. float32[P].
    """
    names = [f"{kind}_{span}" for kind in ("next", "next_share") for span in NEXT_SPANS]
    columns = {name: np.zeros(len(impressions.item), dtype=np.float32) for name in names}
    for part in _parts(log, impressions, newest_N[:, None], 1):
        row_P = impressions.row[part.pairs] - part.rows.start
        for span, led in part.within(NEXT_SPANS):
            of_R1 = led.per_click()
            count_P = led.to_candidates(np.ones(of_R1.shape))
            columns[f"next_{span}"][part.pairs] = count_P
            columns[f"next_share_{span}"][part.pairs] = count_P / (of_R1[:, 0] + _DOUBT)[row_P]
    return columns


@dataclass(frozen=True, kw_only=True, eq=False)
class _Led:
    """M transitions from H clicks each of R impressions, and where they led.

    question: int64[M], r * H + h for the h-th click of the r-th impression; rank: int64[M], when. sum: int64[M], the
    place of their impression and item among the sums that are made: one of each candidate and impression, and one more
    of an impression for what is no candidate; sum_P: int64[P], that of each pair; sums: how many there are.
    """

    shape: tuple[int, int]
    question: Int64
    rank: Int64
    sum: Int64
    sum_P: Int64
    sums: int

    def where(self, chosen_M: Bool) -> "_Led":
        at = np.flatnonzero(chosen_M)
        return replace(self, question=self.question[at], rank=self.rank[at], sum=self.sum[at])

    def per_click(self) -> Int64:
        """How many there are from each click, to candidates or not, int64[R, H]."""
        rows, length = self.shape
        return np.bincount(self.question, minlength=rows * length).reshape(self.shape)

    def to_candidates(self, weight_RH: Doubles) -> Doubles:
        """What those that led to each candidate weigh together, float64[P]."""
        total = np.bincount(self.sum, weight_RH.ravel()[self.question], minlength=self.sums)
        return np.asarray(total[self.sum_P], np.float64)


@dataclass(frozen=True, kw_only=True, eq=False)
class _Part:
    """Consecutive impressions, their pairs, and all the transitions from their clicks, the Q questions.

    since: int64[Q] by hours, the rank of the time of each question less so many; newest_Q: bool[Q], which of them ask
    for the newest click of an impression.
    """

    rows: slice
    pairs: slice
    led: _Led
    since: dict[int, Int64]
    newest_Q: Bool

    def within(self, spans: dict[str, int | None]) -> Iterator[tuple[str, _Led]]:
        """The transitions within each span of hours, the longest first, as it holds the others."""
        led = self.led
        for name, hours in reversed(spans.items()):
            if hours is not None:
                led = led.where(led.rank >= self.since[hours][led.question])
            yield name, led


def _parts(log: Log, impressions: Impressions, item_NH: Int32, window: int) -> Iterator[_Part]:
    known, length = log.transitions, item_NH.shape[1]
    rank_N = known.own.rank(impressions.time)
    hours = {span for spans in (SPANS, NEXT_SPANS) for span in spans.values() if span is not None}
    since = {span: known.own.rank(impressions.time - span * HOUR) for span in hours}
    looked_N = known.looked_at(item_NH.ravel(), np.repeat(rank_N, length)).reshape(-1, length).sum(axis=1)
    for rows in _cuts(looked_N, np.diff(impressions.offsets), len(log.item_ids)):
        pairs = slice(impressions.offsets[rows.start], impressions.offsets[rows.stop])
        row_P, item_P = impressions.row[pairs] - rows.start, impressions.item[pairs]
        candidate_I = np.zeros(len(log.item_ids), np.bool_)
        candidate_I[item_P] = True
        place_I, width = np.cumsum(candidate_I) * candidate_I, int(np.count_nonzero(candidate_I)) + 1
        found = known.after(item_NH[rows].ravel(), np.repeat(rank_N[rows], length), window)
        number = rows.stop - rows.start
        led = _Led(
            shape=(number, length),
            question=found.question,
            rank=found.rank,
            sum=np.repeat(np.arange(number) * width, length)[found.question] + place_I[found.item],
            sum_P=row_P * width + place_I[item_P],
            sums=number * width,
        )
        yield _Part(
            rows=rows,
            pairs=pairs,
            led=led,
            since={span: np.repeat(since_N[rows], length) for span, since_N in since.items()},
            newest_Q=np.tile(np.arange(length) == length - 1, number),
        )


def _cuts(looked_N: Int64, size_N: Int64, items: int) -> Iterator[slice]:
    """Consecutive impressions, so many that no more clicks and sums belong to them, but at least one."""
    start = clicks = size = 0
    for row, (more_clicks, more) in enumerate(zip(looked_N.tolist(), size_N.tolist(), strict=True)):
        clicks, size = clicks + more_clicks, size + more
        if start < row and (clicks > _CLICKS or (row + 1 - start) * min(size, items) > _SUMS):
            yield slice(start, row)
            start, clicks, size = row, more_clicks, more
    if start < len(size_N):
        yield slice(start, len(size_N))
