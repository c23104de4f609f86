"""Whether a feature knows by itself what was clicked. Knows logs and impressions, no model."""

import numpy as np

from recsys_text.evaluation.checks.finding import Finding, Rule
from recsys_text.evaluation.metrics import auc, rank_clicked
from recsys_text.ranking.features import counts
from recsys_text.ranking.log import Impressions, Log

#: No honest feature orders clicks so well by itself.
TOO_WELL = 0.98
#: With fewer impressions a feature may do so by chance.
_FEWEST = 30

TELLING = Rule(
    name="features that know the label",
    found=f"{{count}} of {{of}} features order the clicks of {{shown}} by themselves with an AUC above {TOO_WELL}",
    why="That is a leak: what they are made of was written after the click, and is not there when the model serves.",
    way_out=(
        "Look at the columns that they come from: a published_at that is set by the first click, events that are "
        "logged again later, an impression's time that is the time of its click."
    ),
    error=0.0,
)


def telling_features(log: Log, impressions: Impressions) -> Finding:
    """Features of the log, strictly before each impression, whose AUC averaged over impressions is too good; or too
    bad, which tells as much.
    """
    shown = f"{len(impressions):,} impressions"
    known = counts(log, impressions)
    if len(impressions) < _FEWEST:
        return TELLING.judge(0, len(known), shown=f"{shown}, which are too few to say,")
    found: dict[str, float] = {}
    for name, values_P in known.items():
        ranks = rank_clicked(np.nan_to_num(values_P), impressions.clicked, impressions.offsets)
        each_N = auc(ranks)
        if not np.isnan(each_N).all():
            mean = float(np.nanmean(each_N))
            found[name] = max(mean, 1 - mean)
    best = sorted((name for name in found if found[name] > TOO_WELL), key=lambda name: (-found[name], name))
    return TELLING.judge(len(best), len(known), (f"{name} ({found[name]:.3f})" for name in best), shown=shown)
