"""One ranking: a request's candidates in order, from what is pinned for it. Knows no HTTP and no experiments."""

import math
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from feature_store import StoreError
from recsys_text.service.catalogue import Catalogue, Float32, Match, Rows
from recsys_text.service.ranking import best_first, diversified, probability
from recsys_text.service.schemas import RankFields
from recsys_text.service.views import Pinned, UserRows

# Beyond these many nobody looks for variety, and the work grows with their square.
_DIVERSIFIED = 200
_BECAUSE = 3
_SOURCES = ("none", "popular", "match", "stored")
_POPULAR, _MATCH, _STORED = 1, 2, 3

Float64 = npt.NDArray[np.float64]
Stored = Mapping[str, tuple[float, float]]


class MissingView(Exception):
    """A request names something that only a view tells which the store lacks; says what and which."""


@dataclass(frozen=True, kw_only=True)
class _Scored:
    """C candidates: NaN where there is no score or no interest; `source` numbers _SOURCES; `rows` are -1 where an
    item has no vector, and all are where there are no vectors.
    """

    rows: Rows
    vectors_CW: Float32 | None
    score: Float64
    interest: Float64
    source: npt.NDArray[np.int8]


def rank(pinned: Pinned, rows: UserRows, request: RankFields, diversity: float) -> tuple[bool, list[dict[str, Any]]]:
    """Whether the user is known, and the ranked candidates as `schemas.RankedItem` has them.

    `rows` are those of `pinned` for the request's user. Raises MissingView where the request needs a view that the
    store lacks.
    """
    user = rows.vectors
    history: Sequence[str] = () if user is None else (user["history"] or ())
    ids = _kept(pinned, request, history)
    user_W = user.numpy("vector") if user is not None and pinned.matched else None
    scored = _scored(pinned.items, ids, _stored(rows.scores), user_W, vectors=diversity > 0 or request.explain)
    order = _order(scored, pinned.items, diversity, len(ids) if request.k is None else request.k)
    answer = [
        {"item_id": ids[place], "score": score, "interest": interest, "source": _SOURCES[source]}
        for place, score, interest, source in zip(
            order.tolist(),
            _finite(scored.score[order]),
            _finite(scored.interest[order]),
            scored.source[order].tolist(),
            strict=True,
        )
    ]
    if request.explain:
        for item, explanation in zip(answer, _explanations(pinned.items, scored, order, history), strict=True):
            item["explanation"] = explanation
    return rows.scores is not None or user is not None, answer


def _kept(pinned: Pinned, request: RankFields, history: Collection[str]) -> list[str]:
    ids: list[str] = request.candidates
    if request.seen and pinned.users is None:
        raise MissingView("seen: the store has no view 'user_vectors', which holds what users have seen")
    dropped = {*request.exclude, *(history if request.seen else ())}
    if dropped:
        ids = [item for item in ids if item not in dropped]
    if request.categories is not None:
        if pinned.items is None:
            raise MissingView("categories: the store has no view 'item_vectors', which holds those of items")
        wanted, known = set(request.categories), pinned.items.categories
        ids = [item for item, row in zip(ids, pinned.items.rows(ids), strict=True) if row >= 0 and known[row] in wanted]
    return ids


def _stored(row: Mapping[str, Any] | None) -> Stored:
    if row is None:
        return {}
    lists = side_by_side(*(row[name] for name in ("item_id", "score", "interest")))
    return {item: (score, interest) for item, score, interest in lists}


def side_by_side(*columns: Sequence[Any] | None) -> list[tuple[Any, ...]]:
    """The lists of a row, of which none may be null too. Raises StoreError where they aren't equally long."""
    lists = [column or () for column in columns]
    sizes = [len(values) for values in lists]
    if len(set(sizes)) > 1:
        raise StoreError(f"a row of scores has lists of {', '.join(map(str, sizes))} values; publish it anew")
    return list(zip(*lists, strict=True))


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
                level, of_interest, of_popular = _parts(items, items.match, rows, product)
                matched = probability(level + of_interest + of_popular)
            fits = np.isfinite(matched)
            score, interest = np.where(fits, matched, score), np.where(fits, product, interest)
            source[fits] = _MATCH
    for place, item in enumerate(ids):
        if item in stored and math.isfinite(stored[item][0]):
            score[place], interest[place] = stored[item]
            source[place] = _STORED
    return _Scored(rows=rows, vectors_CW=vectors_CW, score=score, interest=interest, source=source)


def _parts(items: Catalogue, match: Match, rows: Rows, interest: Float64) -> tuple[float, Float64, Float64]:
    """What a match adds up of: the level of all, and for C items what interest and popularity add."""
    popular = np.where(rows >= 0, items.popular_log_odds_N[rows], np.nan)
    return match.level, match.interest * interest, match.popular * popular


def _order(scored: _Scored, items: Catalogue | None, diversity: float, count: int) -> Rows:
    order = best_first(scored.score)
    if diversity > 0 and items is not None and scored.vectors_CW is not None:
        top = order[: min(_DIVERSIFIED, int(np.count_nonzero(scored.source)))]
        rows, vectors = scored.rows[top], scored.vectors_CW[top]
        cosines = items.cosines(rows, vectors, rows, vectors)
        chosen = top[diversified(scored.score[top], cosines, diversity, count)]
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
    likeness = items.cosines(rows, scored.vectors_CW[order], past, items.vectors(past))
    nearest = np.argsort(-likeness, axis=1, kind="stable")[:, :_BECAUSE]
    because = [
        [
            {"item_id": items.ids[row], "title": items.titles[row], "likeness": value}
            for row, value in zip(best, values, strict=True)
            if value > 0
        ]
        for best, values in zip(
            past[nearest].tolist(), np.take_along_axis(likeness, nearest, axis=1).tolist(), strict=True
        )
    ]
    answer: list[dict[str, Any]] = [{"because": likes, "parts": None} for likes in because]
    matched = np.flatnonzero(scored.source[order] == _MATCH)
    if len(matched):
        assert items.match is not None
        level, interest, popular = _parts(items, items.match, rows[matched], scored.interest[order[matched]])
        for number, of_interest, of_popular in zip(matched, interest.tolist(), popular.tolist(), strict=True):
            answer[number]["parts"] = {"level": level, "interest": of_interest, "popular": of_popular}
    return answer


def _finite(values: Float64) -> list[float | None]:
    known = values.astype(object)
    known[~np.isfinite(values)] = None
    return list(known)
