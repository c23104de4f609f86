"""Refresh: what the window that has not ended knows so far, published with the model that is served. Knows no training.

Scores are of the newest closed window by night; within the day they grow old. A refresh reads the open window up to
now, and publishes as of now what the served model says.
"""

from datetime import UTC, datetime
from typing import Any

from recsys_text.config import Settings
from recsys_text.lake.windows import window_of
from recsys_text.progress import SILENT, Stages
from recsys_text.publications import named_time, run_of, same_but_time
from recsys_text.steps.extract import extract_open
from recsys_text.steps.inputs import VIEW, registered_by, the_store, windows_of
from recsys_text.steps.plan import named
from recsys_text.steps.publish import begin, publish_commit, write_parts


def refresh(settings: Settings, now: datetime | None = None, *, progress: Stages = SILENT) -> dict[str, Any]:
    """Publishes all views again with the served model and the newest events; returns as `publish` does.

    Where there is nothing new, a person has rolled back, or nothing that it could follow is served, it publishes
    nothing, and "reason" says why. Raises what `extract` and `publish` raise.
    """
    plan = refresh_begin(settings, now)
    if not plan["views"]:
        told = {key: plan[key] for key in ("version", "served", "reason")}
        return told | {"users": 0, "pairs": 0, "swapped": False}
    written, results = write_parts(settings, plan, progress=progress)
    return publish_commit(settings, written) | {"pairs": sum(result["pairs"] for result in results)}


def refresh_begin(settings: Settings, now: datetime | None = None) -> dict[str, Any]:
    """Reads the open window until `now`, to the second; returns the plan of its publication, as `publish_begin` does.

    A plan without views is no work: "served" is the version that stays, if any, and "reason" says why.
    """
    with the_store(settings) as store:
        versions, current = store.versions(VIEW), store.current(VIEW)
    served = next((info for info in versions if info.version == current), None)
    version = None if served is None else served.version
    stays: dict[str, Any] = {"version": version, "served": version, "views": [], "buckets": []}
    model = None if served is None else run_of(served)
    if served is None or model is None:
        return stays | {"reason": "no scores are served that a refresh could follow; run `recsys-text publish` first"}
    now = (now or datetime.now(UTC)).replace(microsecond=0)
    window, newest = window_of(now, settings.windows.span), windows_of(settings)[-1]
    if rolled_back := [info.version for info in versions if info.sequence > served.sequence and not info.problem]:
        return stays | {"reason": f"{rolled_back[-1]} was rolled back, so that what is served waits for a new window"}
    if newest.end < window.start:
        missing = window_of(newest.end, settings.windows.span)
        return stays | {"reason": f"window {missing} has ended and is not in the lake yet: extract it first"}
    if newest.end == window.start < now:
        extract_open(settings, window, now)
    plan = named(settings, served.metadata["model_version"], model)
    time = named_time(served.version)
    if same_but_time(plan["version"], served.version):
        return stays | {"reason": f"nothing is new since {time:%Y-%m-%dT%H:%MZ}"}
    if time is not None and time >= datetime.fromisoformat(plan["as_of"]):
        return stays | {"reason": f"scores as of {time:%Y-%m-%dT%H:%MZ} are served, and the lake knows no later"}
    folder = registered_by(settings, model).folder
    plan = begin(settings, plan | {"bundle": str(folder), "follows": served.version})
    return plan if plan["views"] else stays | {"reason": f"{plan['version']} was published before"}
