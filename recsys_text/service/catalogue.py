"""All items of one version of the view `item_vectors`, ready for requests. Knows no user and no HTTP."""

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from feature_store import Snapshot, StoreError
from recsys_text.publications import model_of
from recsys_text.service.ranking import log_odds

Rows = npt.NDArray[np.intp]
Float32 = npt.NDArray[np.float32]

# Rows that are taken up at a time: few enough that requests get their turn meanwhile.
_CHUNK_ROWS = 4096


@dataclass(frozen=True, kw_only=True)
class Match:
    """A user and an item match with probability sigmoid(level + interest * (u . v) + popular * logit(popular))."""

    level: float
    interest: float
    popular: float


class Catalogue:
    """N items of W features each.

    Vectors stay as they are stored, in half precision and, where the version has one part, mapped: the workers of
    one machine share them, and a request turns no more than its candidates into single precision.
    """

    def __init__(self, snapshot: Snapshot) -> None:
        """Raises StoreError where the version does not hold what the service needs."""
        info = snapshot.info
        self.snapshot = snapshot
        self.model = model_of(info)
        batches = [batch for batch in snapshot.batches() if batch.num_rows]
        table = pa.Table.from_batches(batches, schema=snapshot.schema)
        vectors = [_matrix(batch.column("vector"), info.version) for batch in batches]
        self.width = vectors[0].shape[1]
        self.match = _match(info.metadata.get("match"), info.version)
        self.ids: list[str] = _values(table.column(0))
        self.titles: list[str] = _values(table.column("title"))
        self.categories: list[str | None] = _values(table.column("category"))
        self._row = {item: row for row, item in enumerate(self.ids)}
        self._vectors_NW = vectors[0] if len(vectors) == 1 else np.concatenate(vectors)
        self._norm_N = np.concatenate(
            [
                np.linalg.norm(self._vectors_NW[start : start + _CHUNK_ROWS].astype(np.float32), axis=1)
                for start in range(0, len(self.ids), _CHUNK_ROWS)
            ]
        )
        given_N = table.column("popular").to_numpy().astype(np.float32)
        pool = np.flatnonzero(np.isfinite(given_N))
        self._pool: Rows = pool[np.argsort(-given_N[pool], kind="stable")]
        lowest = given_N[self._pool[-1]] if len(self._pool) else np.float32(np.nan)
        #: What a user of whom nothing is known gets, float32[N]; NaN for all where the version has no pool.
        self.popular_N: Float32 = np.where(np.isfinite(given_N), given_N, lowest)
        self.popular_log_odds_N: Float32 = log_odds(self.popular_N)

    def rows(self, ids: Sequence[str]) -> Rows:
        """The row of each id, -1 for an unknown one."""
        row = self._row
        return np.array([row.get(item, -1) for item in ids], dtype=np.intp)

    def most_popular(self, count: int) -> list[tuple[str, float]]:
        """The first `count` items of the pool and what a user of whom nothing is known gets for them."""
        rows = self._pool[:count]
        return list(zip((self.ids[row] for row in rows.tolist()), self.popular_N[rows].tolist(), strict=True))

    def vectors(self, rows: Rows) -> Float32:
        """float32[C, W]; zeros for the row -1."""
        vectors_CW: Float32 = self._vectors_NW[rows].astype(np.float32)
        vectors_CW[rows < 0] = 0
        return vectors_CW

    def cosines(self, rows_A: Rows, vectors_AW: Float32, rows_B: Rows, vectors_BW: Float32) -> Float32:
        """Of each of A items with each of B, float32[A, B]; 0 where a vector is zero, not finite or unknown."""
        scale_A, scale_B = self._scale(rows_A), self._scale(rows_B)
        with np.errstate(invalid="ignore", over="ignore"):
            cosine_AB: Float32 = vectors_AW @ vectors_BW.T
            cosine_AB *= scale_A[:, None]
            cosine_AB *= scale_B
        # What is not finite is still so after a product with 0.
        cosine_AB[scale_A == 0] = 0
        cosine_AB[:, scale_B == 0] = 0
        return cosine_AB

    def _scale(self, rows: Rows) -> Float32:
        """One over the length of each vector; 0 where there is no such length."""
        norm = self._norm_N[rows]
        usable = (rows >= 0) & (norm > 0) & np.isfinite(norm)
        scale: Float32 = np.divide(1, norm, out=np.zeros_like(norm), where=usable)
        return scale


def _values(column: Any) -> list[Any]:
    values: list[Any] = []
    for start in range(0, len(column), _CHUNK_ROWS):
        values += column.slice(start, _CHUNK_ROWS).to_pylist()
    return values


def _matrix(column: Any, version: str) -> npt.NDArray[np.float16]:
    if column.null_count or column.values.null_count:
        raise StoreError(f"version '{version}' of item_vectors holds an item without a vector")
    flat = column.flatten().to_numpy(zero_copy_only=True)
    matrix: npt.NDArray[np.float16] = flat.reshape(len(column), column.type.list_size)
    return matrix


def _match(text: str | None, version: str) -> Match | None:
    if text is None:
        return None
    try:
        given: Mapping[str, float] = json.loads(text)
        match = Match(**{name: float(given[name]) for name in ("level", "interest", "popular")})
    except (ValueError, TypeError, KeyError):
        raise StoreError(
            f"version '{version}' of item_vectors says match = {text!r}; "
            'the service needs {"level": a, "interest": b, "popular": c}'
        ) from None
    return match
