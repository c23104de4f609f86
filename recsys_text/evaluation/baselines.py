"""What simple methods score on the same impressions. Knows counts and texts, no trained model.

Shapes: I items, N impressions, P pairs of an impression and a candidate, V terms.
"""

from collections.abc import Mapping, Sequence

import numpy as np
from scipy.sparse import csr_matrix
from sklearn.feature_extraction.text import CountVectorizer, TfidfTransformer
from sklearn.preprocessing import normalize

from recsys_text.ranking.candidates import histories
from recsys_text.ranking.categories import category_shares
from recsys_text.ranking.features import Float32
from recsys_text.ranking.log import Impressions, Log

#: What is asked for of `features.counts`.
COUNTED = (
    "clicks_2h", "clicks_24h", "clicks_7d", "clicks_28d", "clicks_total", "age_hours", "coclick_total", "own_clicks",
)  # fmt: skip
#: Clicks of a user's history that make the TF-IDF profile.
HISTORY = 30
# The commonest character n-grams of a large catalogue: rarer ones hardly ever meet in two texts, and memory is bounded.
_MAX_TERMS = 1 << 18
# Numbers in the dense profiles that are held at a time: 128 MB.
_CHUNK = 1 << 25


def baseline_scores(
    log: Log,
    impressions: Impressions,
    texts: Sequence[str],
    counts: Mapping[str, Float32],
    *,
    cutoff: int,
) -> dict[str, Float32]:
    """Scores of every baseline, float32[P] each, higher is better; all as of the impression's own time.

    popularity 2h, 24h, 7d, 28d, all time: clicks on the item; repeat count: the user's own clicks on it, and the clicks
    of all in 28 days between equal counts, where a candidate is one that its user had; recency: minus its age; pop/age:
    (clicks in 24 h + 0.5) / (age in hours + 1) ** 0.8; item-item co-click: see `coclick`, of all time; category
    popularity: see there, where items have categories; TF-IDF profile: see `tfidf_profile`.

    texts: one per item code; counts: COUNTED of `features.counts` on the same impressions; cutoff: microseconds,
    TF-IDF weights are fitted on the items known before it.
    """
    known = (log.category >= 0).any()
    by_category = {"category popularity": category_popularity(log, impressions)} if known else {}
    month_P, own_P = counts["clicks_28d"], counts["own_clicks"]
    by_repeats = {"repeat count": own_P + month_P / (month_P.max(initial=0) + 1)} if own_P.any() else {}
    return (
        by_category
        | by_repeats
        | {
            "popularity 2h": counts["clicks_2h"],
            "popularity 24h": counts["clicks_24h"],
            "popularity 7d": counts["clicks_7d"],
            "popularity 28d": month_P,
            "popularity all time": counts["clicks_total"],
            "recency": -counts["age_hours"],
            "pop/age": (counts["clicks_24h"] + np.float32(0.5)) / (counts["age_hours"] + 1) ** np.float32(0.8),
            "item-item co-click": counts["coclick_total"],
            "TF-IDF profile": tfidf_profile(log, impressions, texts, cutoff=cutoff),
        }
    )


def category_popularity(log: Log, impressions: Impressions) -> Float32:
    """The item's share of its category's clicks times the category's share of the user's, float32[P].

    All strictly before the impression. The user's share has one click more, spread as everybody's clicks are, so that
    a user without clicks sees the items by their popularity. Items without a category share one.
    """
    clicks, item_P, row_P = log.clicks_of_item, impressions.item, impressions.row
    all_N = clicks.rank(impressions.time)
    item_clicks_P = clicks.stop(item_P, all_N[row_P]) - clicks.begin(item_P)
    of_user_P, of_all_P = category_shares(log, impressions, weight=1.0)
    category_clicks_P = np.round(of_all_P * all_N[row_P])
    return np.asarray(item_clicks_P / np.maximum(category_clicks_P, 1) * of_user_P, np.float32)


def tfidf_profile(log: Log, impressions: Impressions, texts: Sequence[str], *, cutoff: int) -> Float32:
    """Cosine of a candidate's TF-IDF vector and the mean of the user's last HISTORY clicks', float32[P].

    Terms are character 1- to 3-grams, so that it works in any language. 0 for a user without clicks and for an
    item without a known term.
    """
    scores_P = np.zeros(len(impressions.item), np.float32)
    known = [row for row, at in enumerate(log.known_at.tolist()) if at < cutoff and texts[row]]
    if not known:
        return scores_P
    vectors_IV = _tfidf(texts, known)
    history_NH = histories(log, impressions.user, impressions.time, HISTORY)
    step = max(1, _CHUNK // vectors_IV.shape[1])
    for start in range(0, len(impressions), step):
        rows = slice(start, start + step)
        row, place = np.nonzero(history_NH[rows] >= 0)
        clicks = history_NH[rows][row, place]
        shape = (len(history_NH[rows]), len(texts))
        clicks_RI = csr_matrix((np.ones(len(row), np.float32), (row, clicks)), shape=shape)
        profile_RV = normalize((clicks_RI @ vectors_IV).toarray())
        pairs = slice(impressions.offsets[start], impressions.offsets[start + shape[0]])
        items, place_P = np.unique(impressions.item[pairs], return_inverse=True)
        cosine_MR = vectors_IV[items] @ profile_RV.T
        scores_P[pairs] = cosine_MR[place_P, impressions.row[pairs] - start]
    return scores_P


def _tfidf(texts: Sequence[str], known: Sequence[int]) -> csr_matrix:
    """TF-IDF rows of length 1 of all texts, float32[I, V]; terms and weights are those of the known ones alone.

    Finding n-grams is what takes the time: they are counted once, and what scikit-learn would fit on the known texts
    and then apply to all of them is taken out of these counts.
    """
    counts_IV = CountVectorizer(analyzer="char", ngram_range=(1, 3), dtype=np.float32).fit_transform(texts)
    total_V = np.asarray(counts_IV[known].sum(axis=0)).ravel()
    terms = np.flatnonzero(total_V)
    if len(terms) > _MAX_TERMS:
        terms = np.sort(terms[np.argsort(-total_V[terms], kind="stable")[:_MAX_TERMS]])
    counts_IV = counts_IV[:, terms]
    return TfidfTransformer().fit(counts_IV[known]).transform(counts_IV)
