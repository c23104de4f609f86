"""Shadow: the challenger's scores as a view of their own, beside those that are served. Knows no training.

`user_scores_shadow` is made as `user_scores` is, of the same lake and under the same checks, so that both can be held
against the same clicks. It has versions of its own, and no vectors. Nobody is served from it, unless an experiment
names it as the `scores` of an arm.
"""

from collections.abc import Mapping
from datetime import UTC, datetime
from typing import Any

from feature_store import RefusedVersion, StoreError
from recsys_text.config import Settings
from recsys_text.progress import SILENT, Stages
from recsys_text.publications import SHADOW, found
from recsys_text.steps.inputs import check_unchanged, part_name, registered, the_store, tracker
from recsys_text.steps.plan import TOLD, plan_of
from recsys_text.steps.publish import checks, write_parts
from recsys_text.steps.races import is_done
from recsys_text.tracking import CHALLENGER, CHAMPION


def shadow_begin(settings: Settings) -> dict[str, Any]:
    """Names the version that the challenger and the lake give now, and opens its staging area.

    Returns a plan as `publish_begin` does, for `write_items`, `score_bucket` and `shadow_commit`. Its only view is the
    shadow, or there is none, and "reason" says why: there is no challenger, or the version was published before.
    """
    registry = tracker(settings)
    version = registry.version(CHALLENGER)
    if version is None or version == registry.version(CHAMPION):
        return {"version": None, "views": [], "buckets": [], "reason": "there is no challenger, so nothing is compared"}
    plan = plan_of(settings, registered(settings, version))
    with the_store(settings) as store:
        if found(store, SHADOW, plan["version"]):
            return plan | {"reason": f"{plan['version']} was published before"}
        store.begin(SHADOW, plan["version"])
    return plan | {"views": [SHADOW], "buckets": list(range(settings.publish.buckets))}


def shadow_commit(settings: Settings, plan: Mapping[str, Any]) -> dict[str, Any]:
    """Verifies all parts and swaps the version into the shadow view; `publish.keep` newest ones are kept.

    plan: as `write_items` returned it. Returns {"version", "users", "swapped"}, and "reason" where nothing was swapped.
    Raises ContractError where a part is missing or damaged, the lake has changed since, or `publish.checks` refuse it.
    """
    if not plan["views"]:
        reason = plan.get("reason") or f"{plan['version']} was published meanwhile"
        return {"version": plan["version"], "users": 0, "swapped": False, "reason": reason}
    version = plan["version"]
    with the_store(settings) as store:
        check_unchanged(settings, plan)
        try:
            if found(store, SHADOW, version) is None:  # a task may be tried again after it has committed
                store.commit(
                    SHADOW,
                    version,
                    expect_parts=[part_name(bucket) for bucket in plan["buckets"]],
                    metadata={key: plan[key] for key in TOLD},
                    checks=checks(settings, SHADOW, datetime.now(UTC)),
                )
        except StoreError as error:
            if isinstance(error, RefusedVersion):  # every night, what is refused would fill the disk
                store.prune(SHADOW, settings.publish.keep)
            elif is_done(store, plan):
                reason = f"{version} was published meanwhile"
                return {"version": version, "users": 0, "swapped": False, "reason": reason}
            raise
        store.prune(SHADOW, settings.publish.keep)
        info = found(store, SHADOW, version)
        assert info is not None
        return {"version": version, "users": info.rows, "swapped": True}


def publish_shadow(settings: Settings, *, progress: Stages = SILENT) -> dict[str, Any]:
    """Scores every user with the challenger and swaps the new version into the shadow view; see `shadow_commit`."""
    plan, results = write_parts(settings, shadow_begin(settings), progress=progress)
    return shadow_commit(settings, plan) | {"pairs": sum(result["pairs"] for result in results)}
