"""Monitor: what was published against the clicks that followed. Knows the store and the lake, no model."""

from typing import Any

import numpy as np
import polars as pl

from recsys_text.config import Settings
from recsys_text.errors import ConfigError
from recsys_text.evaluation.bootstrap import interval
from recsys_text.lake.store import Lake
from recsys_text.steps.inputs import VIEW, the_store, windows_of
from recsys_text.tables import POSITIVE_TYPES


def monitor(settings: Settings, window: str | None = None) -> dict[str, Any]:
    """Measures the newest version as of a window's start, or before it, against the window's clicks.

    `window` is the newest by default. A user's clicks count where the version has a list for that user. Writes the
    table `quality`: hit rate and nDCG at 10 (every clicked item relevant, intervals over users), coverage (the share
    of the clicking users that had a list) and the number of users measured. Returns {"window", "version", "rows",
    "reason"}; no rows, and the reason, where no version was published before the window began.
    """
    windows = {known.key: known for known in windows_of(settings)}
    key = window or list(windows)[-1]
    if key not in windows:
        raise ConfigError(f"window '{key}' is not in the lake; extract it first")
    span = windows[key]
    nothing: dict[str, Any] = {"window": key, "version": None, "rows": []}
    with the_store(settings) as store:
        before = [info for info in store.versions(VIEW) if info.as_of and info.as_of <= span.start and not info.problem]
        if not before:
            return nothing | {
                "reason": f"No version was published as of {span.start:%Y-%m-%dT%H:%MZ} or before it: no measure"
            }
        version = max(before, key=lambda info: (info.as_of, info.sequence)).version
        lake = Lake(settings.lake)
        clicks = (
            lake.read("events", [key])
            .filter(pl.col("event_type").cast(pl.String).is_in(POSITIVE_TYPES))
            .select("user_id", "item_id")
            .unique()
            .group_by("user_id", maintain_order=False)
            .agg(pl.col("item_id").sort().alias("clicked"))
            .sort("user_id")
        )
        lists = pl.from_arrow(store.snapshot(VIEW, version).get_many(clicks["user_id"].to_list()))
    assert isinstance(lists, pl.DataFrame)
    if clicks.is_empty():
        return nothing | {"reason": f"Window {key} has no clicks, so there is nothing to measure"}
    rows = _quality(key, version, clicks.with_columns(lists["item_id"].alias("listed")), settings)
    frame = pl.DataFrame(rows, schema_overrides={"low": pl.Float64, "high": pl.Float64})
    lake.write("quality", span, [frame], source=f"version {version}", max_rejected=0.0, min_rows=0)
    return {"window": key, "version": version, "rows": rows, "reason": ""}


def _quality(key: str, version: str, users: pl.DataFrame, settings: Settings) -> list[dict[str, Any]]:
    had = users.filter(pl.col("listed").is_not_null())
    ndcg = np.array([_ndcg(listed, clicked) for listed, clicked in had.select("listed", "clicked").iter_rows()])
    who = np.arange(len(had))
    rows: list[dict[str, Any]] = []

    def add(metric: str, value: float, low: float | None = None, high: float | None = None) -> None:
        rows.append(
            {
                "window": key,
                "version": version,
                "metric": metric,
                "slice": "all",
                "value": value,
                "low": low,
                "high": high,
            }
        )

    if len(had):
        for metric, values in (("hit_rate@10", (ndcg > 0).astype(np.float64)), ("ndcg@10", ndcg)):
            found = interval(values, who, resamples=settings.evaluation.resamples, seed=settings.evaluation.seed)
            add(metric, found.mean, *((None, None) if np.isnan(found.low) else (found.low, found.high)))
    add("coverage", len(had) / len(users))
    add("users", float(len(had)))
    return rows


def _ndcg(listed: list[str], clicked: list[str], k: int = 10) -> float:
    """nDCG@k of one user's stored list, each of the window's clicked items relevant (Jarvelin and Kekalainen 2002)."""
    wanted = set(clicked)
    gain = sum(1 / np.log2(place + 2) for place, item in enumerate(listed[:k]) if item in wanted)
    return float(gain / sum(1 / np.log2(place + 2) for place in range(min(k, len(wanted)))))
