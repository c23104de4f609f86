"""A lost race is no mistake: of two publications of one version, the later one finds it done. Writes nothing."""

from collections.abc import Mapping
from typing import Any

from feature_store import Store
from recsys_text.config import Settings
from recsys_text.publications import found
from recsys_text.steps.inputs import the_store


def is_done(store: Store, plan: Mapping[str, Any]) -> bool:
    """Whether all that a plan was to publish is published."""
    return bool(plan["views"]) and all(found(store, view, plan["version"]) for view in plan["views"])


def lost(settings: Settings, plan: Mapping[str, Any]) -> bool:
    """Whether another publication of the plan's version has ended while this one worked on it."""
    with the_store(settings) as store:
        return is_done(store, plan)
