"""Windows that the lake should have. Knows their times, not their rows."""

from collections.abc import Sequence
from datetime import datetime, timedelta

from recsys_text.evaluation.checks.finding import Finding, Rule

MISSING = Rule(
    name="missing windows",
    found="{count} of {of} windows are missing between the oldest and the newest",
    why="What happened then is unknown to histories, counts and trends, and the model takes it for quiet.",
    way_out="Extract them: `recsys-text extract --window KEY`, or `airflow backfill create` for the extracting DAG.",
)


def missing(starts: Sequence[datetime], length: timedelta) -> Finding:
    """Those between windows that begin at `starts`, oldest first, and last as long as each other."""
    whole = [starts[0] + number * length for number in range((starts[-1] - starts[0]) // length + 1)]
    lacking = sorted(set(whole) - set(starts))
    return MISSING.judge(len(lacking), len(whole), (f"{start:%Y-%m-%dT%H:%MZ}" for start in lacking))
