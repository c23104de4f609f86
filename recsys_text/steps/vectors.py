"""Vectors: lake and bundle to the parts of the views `item_vectors` and `user_vectors`. Knows no training.

The dot product of a user's and an item's vector is the interest; `match` in the metadata of `item_vectors` makes it a
probability (see `recsys_text.matching`), so that a reader can place items for which a user has no score. Vectors of two
models say nothing of each other: readers compare the `model_run` of both views.
"""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import datetime
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl
import pyarrow as pa

from recsys_text.bundle import Bundle
from recsys_text.config import Settings
from recsys_text.errors import RecsysTextError
from recsys_text.matching import fit_match, half, popularity, user_vectors
from recsys_text.model.text_model import Items
from recsys_text.ranking.log import Int32, micros
from recsys_text.ranking.similar import most_alike
from recsys_text.steps.inputs import ITEM_PART, ITEM_VECTORS, Inputs, check_unchanged, inputs, the_store
from recsys_text.steps.races import lost
from recsys_text.steps.served import published_at, recalibrated

#: Items that are named as alike.
NEAR = 20
_ROWS = 4096


@dataclass(frozen=True, kw_only=True)
class Opened:
    """What a plan scores with: the bundle, the lake until the plan's time, in microseconds, and its items' vectors."""

    bundle: Bundle
    data: Inputs
    items: Items
    time: int

    @cached_property
    def item_ids(self) -> pa.Array:
        return pa.array(self.data.log.item_ids, pa.string())

    def item_lists(self, offsets: Any, item_P: Any) -> pa.Array:
        """Lists of item ids from codes of the log, which are the codes of the store's dictionary too."""
        return lists(offsets, pa.DictionaryArray.from_arrays(pa.array(item_P, pa.int32()), self.item_ids))

    def calibrated(self, calibration: Sequence[tuple[int, float, float]]) -> Bundle:
        """The bundle, whose calibration was followed to the plan's time by `write_items`."""
        later = tuple((time, level, slope) for time, level, slope in calibration)
        return replace(self.bundle, calibrator=replace(self.bundle.calibrator, later=later))


def opened(settings: Settings, plan: Mapping[str, Any]) -> Opened:
    """Raises ContractError where the lake has changed since the plan was made."""
    bundle = Bundle.load(Path(plan["bundle"]))
    as_of = datetime.fromisoformat(plan["as_of"])
    check_unchanged(settings, plan)
    data = inputs(settings, before=as_of, with_open=True)
    items = bundle.text.items(data.texts, data.log.item_ids)
    return Opened(bundle=bundle, data=data, items=items, time=micros(as_of))


def write_items(settings: Settings, plan: Mapping[str, Any]) -> dict[str, Any]:
    """Writes the vectors of all items as of the plan's time, where the plan has their view.

    Returns the plan with what the steps after it take from there: `calibration`, which has followed the clicks to that
    time, so that no bucket must do it again, `match`, and `left`, how many items have left the catalogue. Where another
    publication of this version has ended meanwhile, the plan has no views any more. Raises ContractError where the lake
    has changed.
    """
    ready = opened(settings, plan)
    log, items = ready.data.log, ready.items
    bundle = recalibrated(settings, ready.bundle, ready.data, items, np.array([ready.time]))
    horizon = published_at(settings, ready.data).horizon
    popular_I = popularity(bundle, log, items, ready.time, horizon)
    match = fit_match(bundle, log, items, popular_I, ready.time, horizon, seed=settings.evaluation.seed)
    if ITEM_VECTORS in plan["views"]:
        rows = _item_rows(ready, popular_I)
        try:
            with the_store(settings) as store, store.stage(ITEM_VECTORS, plan["version"]).writer(ITEM_PART) as writer:
                writer.write(rows)
        except RecsysTextError:
            if not lost(settings, plan):
                raise
            return dict(plan) | {"views": [], "buckets": []}
    held = [list(look) for look in bundle.calibrator.later]
    return dict(plan) | {"calibration": held, "match": match.to_json(), "left": log.absent.count_at(ready.time)}


def _item_rows(ready: Opened, popular_I: Any) -> pa.RecordBatch:
    log, rows = ready.data.log, ready.data.items
    alive = np.flatnonzero(~np.isnan(popular_I)).astype(np.int32)
    offsets, near = most_alike(ready.items.about, alive, log.neutral, NEAR)
    columns = {
        "item_id": ready.item_ids,
        "vector": _vectors(ready.items.candidate),
        "title": rows["title"].cast(pl.String).to_arrow().cast(pa.string()),
        "category": rows["category"].cast(pl.String).to_arrow().cast(pa.string()),
        "popular": pa.array(popular_I, pa.float32(), mask=np.isnan(popular_I)),
        "near": ready.item_lists(offsets, near),
    }
    return pa.RecordBatch.from_pydict(columns)


def user_rows(ready: Opened, users: Int32) -> Iterator[pa.RecordBatch]:
    """The rows of these users of the log, some at a time; one batch at least, without rows where there is no user."""
    log = ready.data.log
    user_ids = pa.array(log.user_ids, pa.string())
    for start in range(0, max(1, len(users)), _ROWS):
        part = users[start : start + _ROWS]
        vec_NW, history_NH = user_vectors(ready.bundle, log, ready.items, part, ready.time)
        known_NH = history_NH >= 0
        offsets = np.concatenate(([0], np.cumsum(known_NH.sum(axis=1))))
        columns = {
            "user_id": user_ids.take(pa.array(part)),
            "vector": _vectors(vec_NW),
            "history": ready.item_lists(offsets, history_NH[known_NH]),
        }
        yield pa.RecordBatch.from_pydict(columns)


def _vectors(vec_NW: Any) -> pa.Array:
    return pa.FixedSizeListArray.from_arrays(pa.array(half(vec_NW).ravel(), pa.float16()), vec_NW.shape[1])


def lists(offsets: Any, values: pa.Array) -> pa.Array:
    return pa.ListArray.from_arrays(pa.array(offsets, pa.int32()), values)
