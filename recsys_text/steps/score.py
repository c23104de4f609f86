"""Score and publish: lake and champion to a new version of the view `user_scores`. Knows no training.

A version is named by what it is made of (as-of time, model, lake), so that publishing the same thing again
is no work and a killed publication goes on where it stopped.
"""

import os
from collections.abc import Mapping
from concurrent.futures import ProcessPoolExecutor
from datetime import datetime
from multiprocessing import get_context, parent_process
from pathlib import Path
from threading import Thread
from typing import Any

import numpy as np
import polars as pl
import pyarrow as pa

from feature_store import bucket_of
from recsys_text.bundle import Bundle
from recsys_text.config import Settings
from recsys_text.errors import ConfigError
from recsys_text.lake.store import Lake
from recsys_text.ranking.candidates import pool_chunks
from recsys_text.ranking.log import Impressions, impressions_from_frame, micros
from recsys_text.ranking.topk import topk
from recsys_text.steps.inputs import VIEW, bundle_path, inputs, the_store, windows_of

SCHEMA = pa.schema(
    [
        pa.field("user_id", pa.string(), nullable=False),
        pa.field("item_id", pa.list_(pa.string())),
        pa.field("score", pa.list_(pa.float32())),
        pa.field("interest", pa.list_(pa.float32())),
    ]
)


def rank(settings: Settings, impressions: Path, out: Path, model: str = "champion") -> dict[str, int]:
    """Scores a Parquet file of impressions, each candidate as of its impression's own time.

    Reads impression_id, user_id, shown_at, candidates; writes impression_id, item_id, interest, score, a row per
    candidate in the order given. Raises ConfigError for a missing file, ContractError for a missing column or a
    candidate that the catalogue lacks.
    """
    try:
        frame = pl.read_parquet(impressions)
    except (OSError, pl.exceptions.ComputeError) as error:
        raise ConfigError(f"{impressions} is not readable as Parquet: {error}") from None
    _, folder = bundle_path(settings, model)
    bundle = Bundle.load(folder)
    data = inputs(settings)
    coded = impressions_from_frame(frame, data.log)
    interest_P, score_P = bundle.score(data.log, bundle.item_vectors(data.texts), coded)
    scored = pl.DataFrame(
        {
            "impression_id": frame["impression_id"].gather(coded.row),
            "item_id": pl.Series(data.log.item_ids, dtype=pl.String).gather(coded.item),
            "interest": interest_P,
            "score": score_P,
        }
    )
    out.parent.mkdir(parents=True, exist_ok=True)
    partial = out.with_name(f".{out.name}.{os.getpid()}.tmp")
    scored.write_parquet(partial)
    partial.replace(out)
    return {"impressions": len(coded), "pairs": len(scored)}


def publish_begin(settings: Settings) -> dict[str, Any]:
    """Names the version that the champion and the lake give now, and opens its staging area.

    Returns the plan that `score_bucket` and `publish_commit` take: view, version, model_version, bundle (its
    folder), as_of, buckets (none where the version was published before). Raises ConfigError without a champion.
    """
    model_version, folder = bundle_path(settings, "champion")
    windows = windows_of(settings)
    lake = Lake(settings.lake)
    keys = [window.key for window in windows]
    digest = lake.digest("events", keys)[:6] + lake.digest("items", lake.keys("items"))[:6]
    as_of = windows[-1].end
    version = f"{as_of:%Y%m%dT%H%M%SZ}-m{model_version}-{digest}"
    with the_store(settings) as store:
        known = any(info.version == version for info in store.versions(VIEW))
        if not known:
            store.begin(VIEW, version)
    return {
        "view": VIEW,
        "version": version,
        "model_version": model_version,
        "bundle": str(folder),
        "as_of": as_of.isoformat(),
        "last_window": keys[-1],
        "buckets": [] if known else list(range(settings.publish.buckets)),
    }


def score_bucket(settings: Settings, plan: Mapping[str, Any], bucket: int) -> dict[str, int]:
    """Scores the users of one bucket as of the plan's time and writes their part; a pure function of its inputs."""
    bundle = Bundle.load(Path(plan["bundle"]))
    as_of = datetime.fromisoformat(plan["as_of"])
    data = inputs(settings, before=as_of)
    log = data.log
    mine = [bucket_of(user, settings.publish.buckets) == bucket for user in log.user_ids]
    users = np.flatnonzero(np.array(mine, dtype=np.bool_)).astype(np.int32)
    items_ID = bundle.item_vectors(data.texts)
    item_ids = np.array(log.item_ids, dtype=object)
    user_ids = np.array(log.user_ids, dtype=object)
    times = np.full(len(users), micros(as_of), dtype=np.int64)
    pairs = 0
    with the_store(settings) as store, store.stage(plan["view"], plan["version"]).writer(_part(bucket)) as writer:
        writer.write(pa.RecordBatch.from_pylist([], schema=SCHEMA))
        for part, offsets, item in pool_chunks(log, times, users, bundle.candidates):
            everyone = Impressions(
                user=users[part],
                time=times[part],
                offsets=offsets,
                item=item,
                clicked=np.zeros(len(item), dtype=np.bool_),
            )
            interest_P, score_P = bundle.score(log, items_ID, everyone)
            ends, best = topk(score_P, log.neutral[item], offsets, settings.publish.top_k)
            pairs += len(best)
            writer.write(_lists(user_ids[users[part]], ends, item_ids[item[best]], score_P[best], interest_P[best]))
    return {"bucket": bucket, "users": len(users), "pairs": pairs}


def _part(bucket: int) -> str:
    return f"bucket-{bucket:05d}"


def _lists(users: Any, offsets: Any, items: Any, scores: Any, interests: Any) -> pa.RecordBatch:
    ends = pa.array(offsets, type=pa.int32())
    columns = [
        pa.ListArray.from_arrays(ends, pa.array(values, type=field.type.value_type))
        for field, values in zip(list(SCHEMA)[1:], (items, scores, interests), strict=True)
    ]
    return pa.RecordBatch.from_arrays([pa.array(users, type=pa.string()), *columns], schema=SCHEMA)


def publish_commit(settings: Settings, plan: Mapping[str, Any]) -> dict[str, Any]:
    """Verifies that every bucket is there and whole, and swaps the version in. Nothing is served before.

    A version that was published before stays as it is, also where it was rolled back since: new clicks or a new
    champion make a new version. Returns {"version", "users", "swapped"}, and "served" where nothing was swapped.
    Raises UnavailableError where a part is missing or damaged; the former version stays.
    """
    with the_store(settings) as store:
        if plan["buckets"]:
            info = store.commit(
                VIEW,
                plan["version"],
                expect_parts=[_part(bucket) for bucket in plan["buckets"]],
                metadata={key: plan[key] for key in ("as_of", "model_version", "last_window")},
            )
            store.prune(VIEW, settings.publish.keep)
            return {"version": info.version, "users": info.rows, "swapped": True}
        return {"version": plan["version"], "users": 0, "swapped": False, "served": store.current(VIEW)}


def score_buckets(settings: Settings, plan: Mapping[str, Any]) -> list[dict[str, int]]:
    """Scores every bucket of the plan, as many at a time as there are cores."""
    workers = min(len(plan["buckets"]), os.cpu_count() or 1)
    if workers <= 1:
        return [score_bucket(settings, plan, bucket) for bucket in plan["buckets"]]
    # A forked child inherits locks that torch's and polars' threads may hold; a spawned one does not.
    with ProcessPoolExecutor(workers, mp_context=get_context("spawn"), initializer=_end_with_parent) as pool:
        runs = [pool.submit(score_bucket, settings, plan, bucket) for bucket in plan["buckets"]]
        return [run.result() for run in runs]


def _end_with_parent() -> None:
    """A worker of a killed publisher would wait for work for ever; this one notices and ends."""
    parent = parent_process()
    assert parent is not None

    def watch() -> None:
        parent.join()
        os._exit(1)

    Thread(target=watch, daemon=True).start()


def publish(settings: Settings) -> dict[str, Any]:
    """Scores every user with the champion, verifies, and swaps the new version in."""
    plan = publish_begin(settings)
    results = score_buckets(settings, plan)
    return publish_commit(settings, plan) | {"pairs": sum(result["pairs"] for result in results)}
