"""What the pages show of one pinned version: users, items, searches. Knows no HTTP and no template."""

import math
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any, Literal

import numpy as np

from recsys_text.service.catalogue import Catalogue
from recsys_text.service.ranker import rank
from recsys_text.service.schemas import RankFields
from recsys_text.service.views import Pinned

#: Rows of a list.
LENGTH = 20
_SOME_USERS = 10
_FOUND = 50
_CHUNK_ROWS = 4096


@dataclass(frozen=True, kw_only=True)
class ItemLine:
    """An item in a list. `title` is its id where the catalogue does not know it, and `linked` says whether it does."""

    item_id: str
    title: str
    category: str | None = None
    linked: bool = True
    score: float | None = None
    likeness: float | None = None


@dataclass(frozen=True, kw_only=True)
class RankedLine(ItemLine):
    """An item of a user's list: `share` is its score in percent of the best one; the others as /rank explains them."""

    interest: float | None
    source: str
    share: float
    because: Sequence[ItemLine]
    parts: dict[str, float] | None


@dataclass(frozen=True, kw_only=True)
class Home:
    """How much is served, and some of it to begin with; None for a view that the store lacks."""

    users: int
    some_users: Sequence[str]
    items: int | None
    popular: Sequence[ItemLine]
    matched: bool


@dataclass(frozen=True, kw_only=True)
class User:
    """`source` says where the list comes from; `stored` and `clicked` count all, the lists hold the first of them."""

    user_id: str
    source: Literal["stored", "match", "popular"]
    known: bool
    stored: int
    clicked: int
    history: Sequence[ItemLine]
    lines: Sequence[RankedLine]


@dataclass(frozen=True, kw_only=True)
class ItemPage:
    """`popular` is NaN where the version has no pool; `in_pool` says whether the item is in it."""

    item_id: str
    title: str
    category: str | None
    popular: float
    in_pool: bool
    published: bool
    near: Sequence[ItemLine] = field(default=())


def home(pinned: Pinned) -> Home:
    items = pinned.items
    batches = (batch for batch in pinned.scores.batches() if batch.num_rows)
    first = next(batches, None)
    return Home(
        users=pinned.scores.info.rows,
        some_users=[] if first is None else first.column(0).slice(0, _SOME_USERS).to_pylist(),
        items=None if items is None else len(items.ids),
        popular=[] if items is None else _popular(items),
        matched=pinned.matched,
    )


def user(pinned: Pinned, user_id: str, *, max_candidates: int) -> User:
    """What a user gets: the stored list; else what matches best among the most popular; else the popular themselves."""
    rows = pinned.rows(user_id)
    row, vectors = rows.scores, rows.vectors
    stored = [] if row is None else (row["item_id"] or [])
    history = [] if vectors is None else (vectors["history"] or [])
    ids: Sequence[str] = stored[:LENGTH]
    if not stored and pinned.items is not None and (row is None or vectors is not None):
        ids = [item for item, _ in pinned.items.most_popular(max_candidates)]
    # Whatever ids the store holds are candidates: the bounds of requests are no matter here.
    request = RankFields.model_construct(
        user_id=user_id, candidates=list(ids), k=LENGTH, explain=True, seen=not stored and pinned.users is not None
    )
    known, ranked = rank(pinned, rows, request, 0.0)
    best = max((item["score"] for item in ranked if item["score"] is not None), default=0.0)
    lines = [_ranked_line(pinned.items, item, best) for item in ranked]
    matched = not stored and any(line.source == "match" for line in lines)
    return User(
        user_id=user_id,
        source="match" if matched else "popular" if not stored and lines else "stored",
        known=known,
        stored=len(stored),
        clicked=len(history),
        history=[_line(pinned.items, item) for item in history[: -LENGTH - 1 : -1]],
        lines=lines,
    )


def item(items: Catalogue, item_id: str) -> ItemPage | None:
    """None for an item that the catalogue does not know."""
    row = int(items.rows([item_id])[0])
    if row < 0:
        return None
    stored = items.snapshot.get(item_id)
    assert stored is not None
    given = stored["popular"]
    near = stored.get("near")
    return ItemPage(
        item_id=item_id,
        title=items.titles[row] or item_id,
        category=items.categories[row],
        popular=float(items.popular_N[row]),
        in_pool=given is not None and math.isfinite(given),
        published=near is not None,
        near=_nearest(items, row) if near is None else [_line(items, other) for other in near[:LENGTH]],
    )


def find(items: Catalogue, text: str) -> tuple[list[ItemLine], int]:
    """The item of that id, then those whose titles have all the words, the most popular first; and how many."""
    words = text.casefold().split()
    by_id = int(items.rows([text])[0])
    rows = np.array(
        [
            row
            for row, title in enumerate(items.titles)
            if row != by_id and all(word in (title or "").casefold() for word in words)
        ],
        dtype=np.intp,
    )
    # NaN, where the version has no pool, sorts last and leaves the order of the catalogue.
    rows = rows[np.argsort(-items.popular_N[rows], kind="stable")]
    found = [*([by_id] if by_id >= 0 else []), *rows.tolist()]
    return [_row_line(items, row, score=float(items.popular_N[row])) for row in found[:_FOUND]], len(found)


def _popular(items: Catalogue) -> list[ItemLine]:
    ids, scores = zip(*items.most_popular(LENGTH), strict=True) if items.most_popular(1) else ((), ())
    return [_row_line(items, row, score=score) for row, score in zip(items.rows(ids).tolist(), scores, strict=True)]


def _nearest(items: Catalogue, row: int) -> list[ItemLine]:
    """The items whose vectors have the largest cosine with this one's, as far as it is above 0."""
    this = np.array([row])
    vector_1W = items.vectors(this)
    chunks = np.split(np.arange(len(items.ids)), range(_CHUNK_ROWS, len(items.ids), _CHUNK_ROWS))
    cosine_N = np.concatenate([items.cosines(this, vector_1W, rows, items.vectors(rows))[0] for rows in chunks])
    cosine_N[row] = -1
    best = np.argsort(-cosine_N, kind="stable")[:LENGTH]
    return [
        _row_line(items, other, likeness=likeness)
        for other, likeness in zip(best.tolist(), cosine_N[best].tolist(), strict=True)
        if likeness > 0
    ]


def _ranked_line(items: Catalogue | None, ranked: dict[str, Any], best: float) -> RankedLine:
    plain, score = _line(items, ranked["item_id"]), ranked["score"]
    return RankedLine(
        item_id=plain.item_id,
        title=plain.title,
        category=plain.category,
        linked=plain.linked,
        score=score,
        interest=ranked["interest"],
        source=ranked["source"],
        share=100 * min(1.0, max(0.0, score / best)) if score is not None and best > 0 else 0.0,
        because=[
            ItemLine(item_id=like["item_id"], title=like["title"] or like["item_id"], likeness=like["likeness"])
            for like in ranked["explanation"]["because"]
        ],
        parts=ranked["explanation"]["parts"],
    )


def _line(items: Catalogue | None, item_id: str) -> ItemLine:
    row = -1 if items is None else int(items.rows([item_id])[0])
    if items is None or row < 0:
        return ItemLine(item_id=item_id, title=item_id, linked=False)
    return _row_line(items, row)


def _row_line(items: Catalogue, row: int, *, score: float | None = None, likeness: float | None = None) -> ItemLine:
    return ItemLine(
        item_id=items.ids[row],
        title=items.titles[row] or items.ids[row],
        category=items.categories[row],
        score=score,
        likeness=likeness,
    )
