"""What the command line shows: tables of results and the progress of training. Knows no step."""

from recsys_text.terminal.learning import continued, repeated
from recsys_text.terminal.progress import TrainingProgress, TuningProgress
from recsys_text.terminal.results import extracted, monitored, published, tuned, versions

__all__ = [
    "TrainingProgress",
    "TuningProgress",
    "continued",
    "extracted",
    "monitored",
    "published",
    "repeated",
    "tuned",
    "versions",
]
