"""From a log and its texts to a bundle, anew or from the champion. Knows no paths and no MLflow."""

from recsys_text.fitting.forgetting import forgetting
from recsys_text.fitting.ranker import fit_neighbours
from recsys_text.fitting.recipe import Decided, as_decided, decide
from recsys_text.fitting.sizing import size_text
from recsys_text.fitting.teachable import check_teachable, doubts, filled
from recsys_text.fitting.text import fit_text
from recsys_text.fitting.warm import Continued, continue_bundle
from recsys_text.fitting.whole import fit_bundle
from recsys_text.progress import Stages

__all__ = [
    "Continued",
    "Decided",
    "Stages",
    "as_decided",
    "check_teachable",
    "continue_bundle",
    "decide",
    "doubts",
    "filled",
    "fit_bundle",
    "fit_neighbours",
    "fit_text",
    "forgetting",
    "size_text",
]
