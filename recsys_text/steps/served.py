"""When the scores of a project are published, and its bundles recalibrated to then. Knows no store."""

from recsys_text.bundle import Bundle
from recsys_text.config import Settings
from recsys_text.following import followed
from recsys_text.model.text_model import Items
from recsys_text.ranking.log import Impressions, Int64
from recsys_text.ranking.publication import Publications, as_published, publications
from recsys_text.steps.inputs import Inputs


def published_at(settings: Settings, data: Inputs) -> Publications:
    """When scores are published in the windows of the lake, and for how long each is served."""
    return publications(data.spans, settings.schedule.refresh)


def as_served(settings: Settings, data: Inputs, impressions: Impressions) -> Impressions:
    """The same lists, whose scores are as of the last publication before they were shown."""
    return as_published(impressions, published_at(settings, data))


def recalibrated(settings: Settings, bundle: Bundle, data: Inputs, items: Items, time_N: Int64) -> Bundle:
    """The bundle for scoring impressions at these times; see `following.followed`."""
    refresh, seed = settings.schedule.refresh, settings.evaluation.seed
    return followed(bundle, data.log, items, time_N, windows=data.spans, refresh=refresh, seed=seed)
