"""What a successor has forgotten: both bundles on the same impressions of older windows. Knows no paths, no MLflow."""

from collections.abc import Sequence
from datetime import datetime

from recsys_text.bundle import Bundle
from recsys_text.config import Settings
from recsys_text.evaluation.bootstrap import interval
from recsys_text.evaluation.metrics import evaluate
from recsys_text.fitting.ranker import newest_impressions
from recsys_text.ranking.log import Log

#: They take some seconds, and tell a hundredth of nDCG.
_IMPRESSIONS = 500


def forgetting(
    before: Bundle,
    after: Bundle,
    log: Log,
    texts: Sequence[str],
    starts: Sequence[datetime],
    settings: Settings,
) -> dict[str, float]:
    """nDCG@10 of the scores in the windows that end by the cutoff of `before`, and its paired change with an interval.

    Both bundles have learned from these clicks, so that a loss is something forgotten; no figure is that of new clicks.
    Empty where no click of these windows is in its pool.
    """
    bounds = [*(start for start in starts if start < before.cutoff), before.cutoff]
    if len(bounds) < 2:
        return {}
    shown = newest_impressions(log, bounds, settings, _IMPRESSIONS)
    if not len(shown):
        return {}
    former_N, present_N = (
        evaluate(bundle.score(log, bundle.text.items(texts, log.item_ids), shown)[1], shown.clicked, shown.offsets)[
            "ndcg@10"
        ]
        for bundle in (before, after)
    )
    chosen = settings.evaluation
    change = interval(present_N - former_N, shown.user, resamples=chosen.resamples, seed=chosen.seed)
    return {
        "old_windows/ndcg_at_10_before": float(former_N.mean()),
        "old_windows/ndcg_at_10_after": float(present_N.mean()),
        "old_windows/change": change.mean,
        "old_windows/change_low": change.low,
        "old_windows/change_high": change.high,
    }
