"""Publish: name a version, have its parts written, verify and swap it in. Knows no model and no training.

A version is named by what it is made of (as-of time, model, lake, length of the lists, buckets), so that
publishing the same thing again is no work and a killed publication goes on where it stopped. All views of one
publication have a version of that name; the scores come last, so that no reader sees them before their vectors.
"""

import math
import os
from collections.abc import Iterable, Iterator, Mapping, Sequence
from concurrent.futures import ProcessPoolExecutor
from datetime import UTC, datetime
from multiprocessing import get_context, parent_process
from threading import Thread
from typing import Any

from feature_store import Checks, RefusedVersion, Store, StoreError, VersionExists, VersionInfo
from recsys_text.config import Settings
from recsys_text.errors import ConfigError, ContractError
from recsys_text.progress import SILENT, Stages
from recsys_text.publications import found, go_with, model_of, run_of, vectors_go_with
from recsys_text.steps.inputs import (
    ITEM_PART,
    ITEM_VECTORS,
    USER_VECTORS,
    VIEW,
    check_unchanged,
    part_name,
    registered,
    registered_by,
    the_store,
)
from recsys_text.steps.plan import TOLD, plan_of
from recsys_text.steps.prune import drop, prune
from recsys_text.steps.races import is_done
from recsys_text.threads import processors

#: In the order in which they are served.
VIEWS = (ITEM_VECTORS, USER_VECTORS, VIEW)


def publish_begin(settings: Settings) -> dict[str, Any]:
    """Names the version that the champion and the lake give now, and opens its staging areas.

    Returns the plan that `write_items` takes, and hands on to `score_bucket` and `publish_commit`: views (those to be
    written), version, model_version, model_run, bundle (its folder), as_of, buckets. Views and buckets are none where
    the version was published before, also where it was rolled back since. Raises ConfigError without a champion.
    """
    return begin(settings, plan_of(settings, registered(settings, "champion")))


def begin(settings: Settings, plan: dict[str, Any]) -> dict[str, Any]:
    """The plan with the views and the buckets that are to be written, whose staging areas it opens."""
    with the_store(settings) as store:
        known = [view for view in VIEWS if found(store, view, plan["version"])]
        rolled_back = VIEW in known and store.current(VIEW) != plan["version"]
        if not rolled_back and not {USER_VECTORS, VIEW} <= set(known):
            plan |= {"views": [view for view in VIEWS if view not in known]}
            plan |= {"buckets": list(range(settings.publish.buckets))}
        try:
            for view in plan["views"]:
                store.begin(view, plan["version"])
        except VersionExists:
            if not is_done(store, plan):
                raise
            return plan | {"views": [], "buckets": []}
    return plan


def publish_commit(settings: Settings, plan: Mapping[str, Any]) -> dict[str, Any]:
    """Verifies that all parts are there and whole, and swaps the version in. Nothing is served before.

    plan: as `write_items` returned it. A version that was published before stays as it is, also where it was rolled
    back since: new clicks or a new champion make a new version. So do scores that a refresh published for a later time
    meanwhile, and item vectors of `publish_items`, where they are of the same model; those of the former model are
    replaced. A refresh replaces nothing but what it followed. Returns {"version", "users", "swapped"}, with "left", the
    plan's, where it was swapped, and else with "served", perhaps "reason". Raises ContractError where a part is missing
    or damaged, the lake has changed since, or a view breaks one of `publish.checks`; the former scores stay, and
    vectors go back to what was served with them. What is staged of views after a refused one is removed.
    """
    with the_store(settings) as store:
        if not plan["views"]:
            return {"version": plan["version"], "users": 0, "swapped": False, "served": store.current(VIEW)}
        if (reason := _gives_way(store, plan)) is not None:
            for view in plan["views"]:
                drop(store, view, plan["version"])
            nothing = {"version": plan["version"], "users": 0, "swapped": False, "served": store.current(VIEW)}
            return nothing | {"reason": reason}
        check_unchanged(settings, plan)
        before = {view: store.current(view) for view in VIEWS}
        try:
            _serve_all(settings, store, plan)
        except StoreError as error:
            if not isinstance(error, RefusedVersion) and is_done(store, plan):
                return {"version": plan["version"], "users": 0, "swapped": False, "served": store.current(VIEW)}
            _stay(store, plan, before)
            if isinstance(error, RefusedVersion):  # every night, what is staged would fill the disk
                for view in plan["views"]:
                    drop(store, view, plan["version"])
                prune(store, settings)
            raise
        prune(store, settings)
        info = found(store, VIEW, plan["version"])
        assert info is not None
        return {"version": info.version, "users": info.rows, "swapped": True, "left": plan["left"]}


def publish_items(settings: Settings) -> dict[str, Any]:
    """Publishes `item_vectors` alone, as of the newest windows: new items are known long before users are scored again.

    The model is that of the served `user_vectors`, whoever is champion. Returns {"version", "items", "swapped"}, and
    "served" where that version was published before. Raises ConfigError where no user vectors are served,
    ContractError where they, or the lake, change meanwhile; item vectors of the new ones' model are served then.
    """
    from recsys_text.steps.vectors import write_items  # noqa: PLC0415 - with torch

    with the_store(settings) as store:
        model = run_of(_users(store))
    if model is None:
        raise ConfigError("an older release published the user vectors; run `recsys-text publish` once before --items")
    plan = plan_of(settings, registered_by(settings, model)) | {"views": [ITEM_VECTORS]}
    with the_store(settings) as store:
        done = {"version": plan["version"], "items": 0, "swapped": False, "served": store.current(ITEM_VECTORS)}
        if found(store, ITEM_VECTORS, plan["version"]):
            return done
        store.begin(ITEM_VECTORS, plan["version"])
    plan = write_items(settings, plan)
    if not plan["views"]:
        return done | {"served": plan["version"]}
    check_unchanged(settings, plan)
    with the_store(settings) as store:
        _check_model(_users(store), model)
        _serve(settings, store, ITEM_VECTORS, plan, [ITEM_PART])
        # A publication looks at the items again after it served its users: either it sees these, or they are seen here.
        users = _users(store)
        if model_of(users) != model:
            go_with(store, ITEM_VECTORS, users)
        _check_model(users, model)
        prune(store, settings)
        info = found(store, ITEM_VECTORS, plan["version"])
        assert info is not None
        return {"version": info.version, "items": info.rows, "swapped": True}


def publish(settings: Settings, *, progress: Stages = SILENT) -> dict[str, Any]:
    """Scores every user with the champion, verifies, and swaps the new version in."""
    plan, results = write_parts(settings, publish_begin(settings), progress=progress)
    if plan["views"]:
        progress.stage("Verifying: every part of the new version")
    return publish_commit(settings, plan) | {"pairs": sum(result["pairs"] for result in results)}


def write_parts(
    settings: Settings, plan: Mapping[str, Any], *, progress: Stages = SILENT
) -> tuple[Mapping[str, Any], list[dict[str, int]]]:
    """Writes the items, then every bucket of the plan, as many at a time as there are cores: the plan and the results.

    A plan without views is no work.
    """
    from recsys_text.steps.score import score_bucket  # noqa: PLC0415 - with torch; begin and commit do without
    from recsys_text.steps.vectors import write_items  # noqa: PLC0415 - likewise

    if not plan["views"]:
        return plan, []
    buckets = plan["buckets"]
    workers = min(len(buckets), processors())
    if workers <= 1:
        progress.stage("Items: their vectors")
        plan = write_items(settings, plan)
        progress.stage(f"Scores: {len(buckets)} bucket{'s' if len(buckets) > 1 else ''} of users")
        return plan, list(_shown((score_bucket(settings, plan, bucket) for bucket in buckets), len(buckets), progress))
    # A forked child inherits locks that torch's and polars' threads may hold; a spawned one does not.
    with ProcessPoolExecutor(workers, mp_context=get_context("spawn"), initializer=_end_with_parent) as pool:
        progress.stage("Items: their vectors")
        plan = pool.submit(write_items, settings, plan).result()
        progress.stage(f"Scores: {len(buckets)} buckets of users, {workers} at a time")
        runs = [pool.submit(score_bucket, settings, plan, bucket) for bucket in buckets]
        return plan, list(_shown((run.result() for run in runs), len(runs), progress))


def _shown(results: Iterable[dict[str, int]], total: int, progress: Stages) -> Iterator[dict[str, int]]:
    """The results, each shown when it is there."""
    for done, result in enumerate(results, 1):
        progress.advance(done, total)
        yield result


def _end_with_parent() -> None:
    """A worker of a killed publisher would wait for work for ever; this one notices and ends."""
    parent = parent_process()
    assert parent is not None

    def watch() -> None:
        parent.join()
        os._exit(1)

    Thread(target=watch, daemon=True).start()


def checks(settings: Settings, view: str, now: datetime) -> Checks:
    """The rules of a version of a view."""
    rules, finite = settings.publish.checks, (-math.inf, math.inf)
    if view == ITEM_VECTORS:
        return Checks(ranges={"vector": finite, "popular": finite})
    if view == USER_VECTORS:
        # Scores are written with them, for the same users, and their rules count these.
        return Checks(ranges={"vector": finite})
    return Checks(
        min_ratio=rules.min_users,
        lengths={"item_id": (rules.min_length, settings.publish.top_k)},
        equal_lengths=True,
        ranges={"score": (0.0, 1.0), "interest": finite},
        max_repeated={"item_id": rules.max_repeated},
        max_drift={} if rules.max_drift is None else {"score": rules.max_drift},
        max_age=rules.max_age,
        now=None if rules.max_age is None else now,
    )


def _users(store: Store) -> VersionInfo:
    """The served user vectors. Raises ConfigError where there are none."""
    served = found(store, USER_VECTORS, store.current(USER_VECTORS))
    if served is None or served.problem:
        raise ConfigError("item vectors go with user vectors, and none are served; run `recsys-text publish` first")
    return served


def _check_model(users: VersionInfo, model: str) -> None:
    if model_of(users) != model:
        newer = users.metadata.get("model_version")
        raise ContractError(f"user vectors of model {newer} were published meanwhile; publish the items again")


def _serve_all(settings: Settings, store: Store, plan: Mapping[str, Any]) -> None:
    parts = [part_name(bucket) for bucket in plan["buckets"]]
    _serve_items(settings, store, plan)
    _serve(settings, store, USER_VECTORS, plan, parts)
    # `publish_items` may have seen the former users a moment ago and served items of their model since.
    _serve_items(settings, store, plan)
    _serve(settings, store, VIEW, plan, parts)


def _serve_items(settings: Settings, store: Store, plan: Mapping[str, Any]) -> None:
    """Serves the plan's items, unless newer ones of its model are served; those of the plan are given up then."""
    newer = _overtaking(store, ITEM_VECTORS, plan)
    if newer is not None and model_of(newer) == plan["model_run"]:
        if ITEM_VECTORS in plan["views"]:
            drop(store, ITEM_VECTORS, plan["version"])
        return
    _serve(settings, store, ITEM_VECTORS, plan, [ITEM_PART])


def _overtaking(store: Store, view: str, plan: Mapping[str, Any]) -> VersionInfo | None:
    """What is served of a view, where it speaks of a later time than the plan."""
    served = found(store, view, store.current(view))
    later = served is not None and served.as_of is not None and served.as_of > datetime.fromisoformat(plan["as_of"])
    return served if later else None


def _gives_way(store: Store, plan: Mapping[str, Any]) -> str | None:
    """Why a plan is given up for what is served: newer scores of its model, or, for a refresh, any that it did not
    follow: a new champion or a person has put them there.
    """
    newer = _overtaking(store, VIEW, plan)
    if newer is not None and model_of(newer) == plan["model_run"]:
        return f"it is newer than {plan['version']}, and of the same model"
    followed = {plan["version"], plan.get("follows")}
    if "follows" in plan and store.current(VIEW) not in followed:
        return f"it was served while {plan['version']} was made, which followed {plan['follows']}"
    return None


def _make_way(store: Store, view: str, plan: Mapping[str, Any]) -> None:
    """Goes back behind what the former model said of a later time: a commit itself never goes back in time."""
    newer, as_of = _overtaking(store, view, plan), datetime.fromisoformat(plan["as_of"])
    if newer is not None and model_of(newer) != plan["model_run"]:
        whole = [info for info in store.versions(view) if not info.problem and info.as_of and info.as_of <= as_of]
        if whole:
            store.rollback(view, max(whole, key=lambda info: (info.as_of, info.sequence)).version)


def _serve(settings: Settings, store: Store, view: str, plan: Mapping[str, Any], parts: Sequence[str]) -> None:
    """Commits the plan's version of a view; one that was committed before is served again."""
    version, current = plan["version"], store.current(view)
    if view in plan["views"] and (version == current or found(store, view, version) is None):
        _make_way(store, view, plan)
        told = (*TOLD, *(["match"] if view == ITEM_VECTORS else []))
        store.commit(
            view,
            version,
            expect_parts=parts,
            metadata={key: plan[key] for key in told},
            checks=checks(settings, view, datetime.now(UTC)),
        )
    elif version != current:
        store.rollback(view, version)


def _stay(store: Store, plan: Mapping[str, Any], before: Mapping[str, str | None]) -> None:
    """Scores that made way come back, and vectors that were served ahead of their scores go back: to those `before`, or
    others that go with the scores.
    """
    newer = found(store, VIEW, before[VIEW])
    if newer is not None and newer.as_of is not None:
        present = found(store, VIEW, store.current(VIEW))
        if present is not None and present.as_of is not None and present.as_of < newer.as_of:
            store.rollback(VIEW, newer.version)
    scores = found(store, VIEW, store.current(VIEW))
    if scores is not None and scores.version != plan["version"]:
        # Where a commit was killed and is tried again, the plan's own were served before.
        own = dict.fromkeys(plan["views"], plan["version"])
        first = {view: version for view, version in before.items() if version != own.get(view)}
        vectors_go_with(store, scores, first)
