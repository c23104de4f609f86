"""Publish: name a version, have its buckets scored, verify and swap it in. Knows no model and no training.

A version is named by what it is made of (as-of time, model, lake, length of the lists, buckets), so that
publishing the same thing again is no work and a killed publication goes on where it stopped.
"""

import hashlib
import json
import os
from collections.abc import Mapping
from concurrent.futures import ProcessPoolExecutor
from multiprocessing import get_context, parent_process
from threading import Thread
from typing import Any

from recsys_text.config import Settings
from recsys_text.steps.inputs import VIEW, bundle_path, check_unchanged, lake_state, part_name, the_store


def publish_begin(settings: Settings) -> dict[str, Any]:
    """Names the version that the champion and the lake give now, and opens its staging area.

    Returns the plan that `score_bucket` and `publish_commit` take: view, version, model_version, bundle (its
    folder), as_of, buckets (none where the version was published before). Raises ConfigError without a champion.
    """
    model_version, folder = bundle_path(settings, "champion")
    windows, digests = lake_state(settings)
    as_of = windows[-1].end
    kind = settings.evaluation.at, settings.evaluation.seed  # of what calibration follows
    made_of = json.dumps([digests, settings.publish.top_k, settings.publish.buckets, kind])
    version = f"{as_of:%Y%m%dT%H%M%SZ}-m{model_version}-{hashlib.sha256(made_of.encode()).hexdigest()[:12]}"
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
        "last_window": windows[-1].key,
        "digests": digests,
        "buckets": [] if known else list(range(settings.publish.buckets)),
    }


def publish_commit(settings: Settings, plan: Mapping[str, Any]) -> dict[str, Any]:
    """Verifies that every bucket is there and whole, and swaps the version in. Nothing is served before.

    A version that was published before stays as it is, also where it was rolled back since: new clicks or a new
    champion make a new version. Returns {"version", "users", "swapped"}, and "served" where nothing was swapped.
    Raises ContractError where a part is missing or damaged, or the lake has changed since; the former version stays.
    """
    with the_store(settings) as store:
        if plan["buckets"]:
            check_unchanged(settings, plan)
            info = store.commit(
                VIEW,
                plan["version"],
                expect_parts=[part_name(bucket) for bucket in plan["buckets"]],
                metadata={key: plan[key] for key in ("as_of", "model_version", "last_window")},
            )
            store.prune(VIEW, settings.publish.keep)
            return {"version": info.version, "users": info.rows, "swapped": True}
        return {"version": plan["version"], "users": 0, "swapped": False, "served": store.current(VIEW)}


def score_buckets(settings: Settings, plan: Mapping[str, Any]) -> list[dict[str, int]]:
    """Scores every bucket of the plan, as many at a time as there are cores."""
    from recsys_text.steps.score import score_bucket  # noqa: PLC0415 - with torch; begin and commit do without

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
