"""One ranking: a request's candidates in order, from what is pinned for it. Knows no HTTP and no experiments."""

import math
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from recsys_text.service.catalogue import Catalogue, Float32, Match, Rows
from recsys_text.service.ranking import best_first, diversified, log_odds, probability
from recsys_text.service.schemas import RankRequest
from recsys_text.service.views import Pinned

# Beyond these many nobody looks for variety, and the work grows with their square.
_DIVERSIFIED = 200
_BECAUSE = 3
_SOURCES = ("none", "popular", "match", "stored")
_POPULAR, _MATCH, _STORED = 1, 2, 3

Stored = Mapping[str, tuple[float, float]]


@dataclass(frozen=True, kw_only=True)
class _Scored:
    """C candidates: NaN where there is no score or no interest; `source` numbers _SOURCES; `rows` are -1 where an
    item has no vector, and all are where there are no vectors.
    """

    ids: Sequence[str]
    rows: Rows
    vectors_CW: Float32 | None
    score: npt.NDArray[np.float64]
    interest: npt.NDArray[np.float64]
    source: npt.NDArray[np.int8]


def rank(pinned: Pinned, request: RankRequest, diversity: float) -> tuple[bool, list[dict[str, Any]]]:
    """Whether the user is known, and the ranked candidates as `schemas.RankedItem` has them.

    Raises ValueError where the request needs a view that the store lacks.
    """
    row = pinned.scores.get(request.user_id)
    user = None if pinned.users is None else pinned.users.get(request.user_id)
    history: Sequence[str] = () if user is None else (user["history"] or ())
    ids = _kept(pinned, request, history)
    user_W = user.numpy("vector") if user is not None and pinned.matched else None
    scored = _scored(pinned.items, ids, _stored(row), user_W, vectors=diversity > 0 or request.explain)
    order = _order(scored, pinned.items, diversity, len(ids) if request.k is None else request.k)
    answer = [
        {"item_id": ids[place], "score": _finite(score), "interest": _finite(interest), "source": _SOURCES[source]}
        for place, score, interest, source in zip(
            order.tolist(),
            scored.score[order].tolist(),
            scored.interest[order].tolist(),
            scored.source[order].tolist(),
            strict=True,
        )
    ]
    if request.explain:
        for item, explanation in zip(answer, _explanations(pinned.items, scored, order, history), strict=True):
            item["explanation"] = explanation
    return row is not None or user is not None, answer


def _kept(pinned: Pinned, request: RankRequest, history: Collection[str]) -> list[str]:
    ids: list[str] = request.candidates
    if request.seen and pinned.users is None:
        raise ValueError("seen: the store has no view 'user_vectors', which holds what users have seen")
    dropped = {*request.exclude, *(history if request.seen else ())}
    if dropped:
        ids = [item for item in ids if item not in dropped]
    if request.categories is not None:
        if pinned.items is None:
            raise ValueError("categories: the store has no view 'item_vectors', which holds those of items")
        wanted, known = set(request.categories), pinned.items.categories
        ids = [item for item, row in zip(ids, pinned.items.rows(ids), strict=True) if row >= 0 and known[row] in wanted]
    return ids


def _stored(row: Mapping[str, Any] | None) -> Stored:
    if row is None:
        return {}
    return dict(zip(row["item_id"], zip(row["score"], row["interest"], strict=True), strict=True))


def _scored(
    items: Catalogue | None,
    ids: Sequence[str],
    stored: Stored,
    user_W: npt.NDArray[np.float16] | None,
    *,
    vectors: bool,
) -> _Scored:
    count = len(ids)
    rows = np.full(count, -1, dtype=np.intp) if items is None else items.rows(ids)
    score, interest = np.full((2, count), np.nan)
    source = np.zeros(count, dtype=np.int8)
    vectors_CW = None
    if items is not None:
        score = np.where(rows >= 0, items.popular_N[rows], np.nan).astype(np.float64)
        source[np.isfinite(score)] = _POPULAR
        if user_W is not None or vectors:
            vectors_CW = items.vectors(rows)
        if user_W is not None:
            assert items.match is not None
            assert vectors_CW is not None
            with np.errstate(invalid="ignore", over="ignore"):
                product = (vectors_CW @ user_W.astype(np.float32)).astype(np.float64)
                matched = probability(sum(_parts(items.match, product, score)))
            fits = np.isfinite(matched)
            score, interest = np.where(fits, matched, score), np.where(fits, product, interest)
            source[fits] = _MATCH
    if stored:
        given = np.array([stored.get(item, (np.nan, np.nan)) for item in ids], dtype=np.float64).reshape(count, 2)
        fits = np.isfinite(given[:, 0])
        score, interest = np.where(fits, given[:, 0], score), np.where(fits, given[:, 1], interest)
        source[fits] = _STORED
    return _Scored(ids=ids, rows=rows, vectors_CW=vectors_CW, score=score, interest=interest, source=source)


def _parts(match: Match, product: Any, popular: Any) -> tuple[Any, Any, Any]:
    return match.level, match.interest * product, match.popular * log_odds(popular)


def _order(scored: _Scored, items: Catalogue | None, diversity: float, count: int) -> Rows:
    order = best_first(scored.score)
    if diversity > 0 and items is not None and scored.vectors_CW is not None:
        top = order[: min(_DIVERSIFIED, int(np.count_nonzero(scored.source)))]
        directions = items.directions(scored.rows[top], scored.vectors_CW[top])
        chosen = top[diversified(scored.score[top], directions, diversity, count)]
        order[: len(chosen)] = chosen
    return order[:count]


def _explanations(
    items: Catalogue | None, scored: _Scored, order: Rows, history: Sequence[str]
) -> list[dict[str, Any]]:
    if items is None or scored.vectors_CW is None:
        return [{"because": [], "parts": None} for _ in order]
    past = items.rows(list(dict.fromkeys(history)))
    past = past[past >= 0]
    rows = scored.rows[order]
    likeness = items.directions(rows, scored.vectors_CW[order]) @ items.directions(past, items.vectors(past)).T
    nearest = np.argsort(-likeness, axis=1, kind="stable")[:, :_BECAUSE]
    popular = np.where(rows >= 0, items.popular_N[rows], np.nan)
    answer: list[dict[str, Any]] = []
    for number, place in enumerate(order.tolist()):
        best = nearest[number]
        because = [
            {"item_id": items.ids[row], "title": items.titles[row], "likeness": value}
            for row, value in zip(past[best].tolist(), likeness[number, best].tolist(), strict=True)
            if value > 0
        ]
        parts = None
        if scored.source[place] == _MATCH:
            assert items.match is not None
            level, interest, known = _parts(items.match, scored.interest[place], popular[number])
            parts = {"level": level, "interest": float(interest), "popular": float(known)}
        answer.append({"because": because, "parts": parts})
    return answer


def _finite(value: float) -> float | None:
    return value if math.isfinite(value) else None
