"""Plan: the name of a version, made of all that its scores follow from. Writes nothing."""

import hashlib
import json
from typing import Any

from recsys_text.config import Settings
from recsys_text.publications import version_name
from recsys_text.steps.inputs import Registered, lake_state, settle

#: What each version of a view tells of itself in its metadata.
TOLD = ("as_of", "model_version", "model_run", "last_window")


def plan_of(settings: Settings, model: Registered) -> dict[str, Any]:
    """A plan of no views for what a model and the lake give now."""
    return named(settings, model.version, model.run_id) | {"bundle": str(model.folder)}


def named(settings: Settings, model_version: str, model_run: str) -> dict[str, Any]:
    """As `plan_of`, of which the model itself need not be there."""
    lake = lake_state(settings, with_open=True)
    about = lake.digests, settings.publish.top_k, settings.publish.buckets, settle(settings).total_seconds()
    kind = settings.evaluation.at, settings.evaluation.seed  # of what calibration follows
    digest = hashlib.sha256(json.dumps([*about, *kind, model_run]).encode()).hexdigest()
    return {
        "version": version_name(lake.as_of, model_version, digest),
        "model_version": model_version,
        "model_run": model_run,
        "as_of": lake.as_of.isoformat(),
        "last_window": lake.windows[-1].key,
        "digests": lake.digests,
        "views": [],
        "buckets": [],
    }
