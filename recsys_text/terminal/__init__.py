"""What the command line shows: tables of results and the progress of training. Knows no step."""

from recsys_text.terminal.findings import checked
from recsys_text.terminal.guesses import confirmed, guessed
from recsys_text.terminal.learning import continued, repeated
from recsys_text.terminal.progress import TuningProgress, WorkProgress
from recsys_text.terminal.results import extracted, monitored, published, published_shadow, tuned, versions
from recsys_text.terminal.verdict import explained
from recsys_text.terminal.windows import dropped, expired, listed

__all__ = [
    "TuningProgress",
    "WorkProgress",
    "checked",
    "confirmed",
    "continued",
    "dropped",
    "expired",
    "explained",
    "extracted",
    "guessed",
    "listed",
    "monitored",
    "published",
    "published_shadow",
    "repeated",
    "tuned",
    "versions",
]
