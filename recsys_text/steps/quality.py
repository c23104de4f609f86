"""What published scores were worth: lists of the store against the clicks of a window. Knows no model."""

from collections.abc import Mapping, Sequence
from datetime import datetime

import numpy as np
import polars as pl
import pyarrow.compute as pc

from feature_store import Store, VersionInfo
from recsys_text.config import Settings
from recsys_text.evaluation.bootstrap import Interval, interval
from recsys_text.evaluation.metrics import Bool, Double
from recsys_text.evaluation.published import Published, figures
from recsys_text.event_types import EventType
from recsys_text.lake.store import Lake
from recsys_text.lake.windows import Window
from recsys_text.publications import ITEMS, SCORES, SHADOW
from recsys_text.tables import is_positive

#: Metric, slice, value and, where it has one, the bounds of its interval.
Figure = tuple[str, str, float, float | None, float | None]


def published_before(store: Store, view: str, time: datetime) -> VersionInfo | None:
    """The newest version as of `time` or before it that could be served; None where there is none."""
    before = [info for info in store.versions(view) if info.as_of and info.as_of <= time and not info.problem]
    return max(before, key=lambda info: (info.as_of or time, info.sequence), default=None)


def quality(settings: Settings, store: Store, lake: Lake, info: VersionInfo, span: Window) -> list[Figure] | None:
    """The figures of a version of the scores, and of the shadow beside it; None where nobody clicked in the window."""
    positive = settings.sources.events.positive
    clicks = _clicks(lake, [span.key], positive)
    if clicks.is_empty():
        return None
    known = _clicks(lake, [key for key in lake.keys("events") if key < span.key], positive)
    first = Published.join(_lists(store, SCORES, info.version, clicks), clicks)
    columns = first.hits() | _described(store, info, first, known)
    slices = _slices(first, clicks, known)
    how = settings.evaluation.resamples, settings.evaluation.seed
    found = [_figure(*one) for one in figures(columns, slices, resamples=how[0], seed=how[1])]
    calibrated = first.calibration(resamples=how[0], seed=how[1])
    found += [_figure(metric, "all", value) for metric, value in calibrated.items()]
    listed_U = clicks["user_id"].unique().sort().is_in(first.users["user_id"].implode()).to_numpy().astype(float)
    covered = interval(listed_U, np.arange(len(listed_U)), resamples=how[0], seed=how[1])
    found += [
        _figure("coverage", "all", covered),
        ("item_coverage@10", "all", _share_shown(store, info, first), None, None),
        ("users", "all", float(len(first.users)), None, None),
    ]
    return found + _shadow(store, info, clicks, first, how)


def _clicks(lake: Lake, keys: list[str], positive: Sequence[EventType]) -> pl.DataFrame:
    return lake.read("events", keys, where=is_positive(positive), columns=("user_id", "item_id", "occurred_at"))


def _lists(store: Store, view: str, version: str, clicks: pl.DataFrame) -> pl.DataFrame:
    """The lists of those who clicked."""
    users = clicks["user_id"].unique().sort()
    rows = pl.from_arrow(store.snapshot(view, version).get_many(users.to_list()))
    assert isinstance(rows, pl.DataFrame)
    return rows.select(
        users.alias("user_id"), pl.col("item_id").cast(pl.List(pl.String)), pl.col("score").cast(pl.List(pl.Float64))
    ).filter(pl.col("item_id").is_not_null())


def _slices(lists: Published, clicks: pl.DataFrame, known: pl.DataFrame) -> Mapping[str, Bool]:
    """Users by what was known before the window: their own clicks, and whether they clicked an item that had none."""
    before, old = known.group_by("user_id").len(), known["item_id"].unique()
    new = clicks.filter(~pl.col("item_id").is_in(old.implode()))["user_id"].unique()
    users = lists.users.join(before, on="user_id", how="left", maintain_order="left").select(
        pl.col("len").fill_null(0), new_item=pl.col("user_id").is_in(new.implode())
    )
    clicks_U, new_U = users["len"].to_numpy(), users["new_item"].to_numpy()
    found = {
        "all": np.ones(len(users), np.bool_),
        "new_item": new_U,
        "new_user": clicks_U == 0,
        "history_1-5": (clicks_U >= 1) & (clicks_U <= 5),
        "history_6-20": (clicks_U >= 6) & (clicks_U <= 20),
        "history_over_20": clicks_U > 20,
    }
    return {name: chosen_U for name, chosen_U in found.items() if chosen_U.any()}


def _described(store: Store, info: VersionInfo, lists: Published, known: pl.DataFrame) -> dict[str, Double]:
    """What the lists are like, by the vectors that were published with them; nothing where there are none."""
    if all(other.version != info.version or other.problem for other in store.versions(ITEMS)):
        return {}
    ids = lists.places["item_id"].unique().sort()
    if ids.is_empty():
        return {}
    column = store.snapshot(ITEMS, info.version).get_many(ids.to_list()).column("vector")
    known_I = column.is_valid().to_numpy(zero_copy_only=False)
    vectors_ID = column.drop_null().flatten().to_numpy().astype(np.float32).reshape(int(known_I.sum()), -1)
    clicks = known.group_by("item_id").agg(pl.len().alias("clicks"))
    catalogue = (
        pl.DataFrame({"item_id": ids.filter(pl.Series(known_I))})
        .join(clicks, on="item_id", how="left", maintain_order="left")
        .with_columns(pl.col("clicks").fill_null(0))
    )
    return lists.described(catalogue, vectors_ID)


def _share_shown(store: Store, info: VersionInfo, lists: Published) -> float:
    """The share of all items in anybody's list that are among the first ten of somebody who clicked."""
    listed: set[str] = set()
    for batch in store.snapshot(SCORES, info.version).batches():
        listed.update(pc.unique(batch.column("item_id").flatten()).to_pylist())
    shown = lists.places.filter(pl.col("place") < 10)["item_id"].n_unique()
    return shown / len(listed) if listed else float("nan")


def _shadow(
    store: Store, info: VersionInfo, clicks: pl.DataFrame, served: Published, how: tuple[int, int]
) -> list[Figure]:
    """The challenger's lists as of the same time beside those that were served, of the users who have both."""
    beside = [other for other in store.versions(SHADOW) if other.as_of == info.as_of and not other.problem]
    if not beside:
        return []
    newest = max(beside, key=lambda other: other.sequence)
    shadow = Published.join(_lists(store, SHADOW, newest.version, clicks), clicks)
    both = served.users.select("user_id", ours=pl.int_range(pl.len())).join(
        shadow.users.select("user_id", theirs=pl.int_range(pl.len())), on="user_id", how="inner", maintain_order="left"
    )
    if both.is_empty():
        return []
    columns = {name: values_U[both["theirs"].to_numpy()] for name, values_U in shadow.hits().items()}
    columns["gain of ndcg@10"] = columns["ndcg@10"] - served.hits()["ndcg@10"][both["ours"].to_numpy()]
    slices = {"shadow": np.ones(len(both), np.bool_)}
    return [_figure(*one) for one in figures(columns, slices, resamples=how[0], seed=how[1])]


def _figure(metric: str, part: str, found: Interval) -> Figure:
    low, high = (None if np.isnan(bound) else bound for bound in (found.low, found.high))
    return metric, part, found.mean, low, high
