"""What existing methods reach on cold items: TF-IDF and linear maps from it. Knows a log and texts, no network.

Shapes: U impressions of a user each, C cold items (all candidates of each impression), n warm items.
"""

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray
from scipy.linalg import cho_factor, cho_solve
from scipy.sparse import csr_matrix
from sklearn.feature_extraction.text import TfidfVectorizer
from sklearn.preprocessing import normalize

from recsys_text.model.collaborative import clicked_once, ease
from recsys_text.ranking.log import Impressions, Log

Float32 = NDArray[np.float32]

#: Chosen on both data sets with the cold items of another residue, 5.
RIDGE_PENALTY, EASE_PENALTY = 3.0, 20.0
_TOP = 10


def bars(log: Log, texts: Sequence[str], impressions: Impressions) -> dict[str, Float32]:
    """Scores, float32[P], from all clicks of the log, none of which is on a candidate.

    Rows of TF-IDF are words and pairs of words that two warm texts share, with the logarithm of their counts, of
    length 1. TF-IDF profile: cosine of a candidate and the sum of what the user clicked. ridge TF-IDF -> X: kernel
    ridge regression from them to columns of X, which is the raw interactions, or EASE's item-item matrix (Steck 2019),
    whole or only the ten largest weights of each item's column.
    """
    cold_C = impressions.item[: impressions.offsets[1]]
    warm_n = np.setdiff1d(np.arange(len(texts)), cold_C)
    position = np.full(len(texts), -1)
    position[warm_n] = np.arange(len(warm_n))
    # The user -1 reads the last row, which is empty.
    all_Nn = clicked_once(log.user, position[log.item], (len(log.user_ids) + 1, len(warm_n)))
    clicks_Un = all_Nn[impressions.user]
    vectorizer = TfidfVectorizer(ngram_range=(1, 2), min_df=2, sublinear_tf=True, dtype=np.float32)
    rows_nV = vectorizer.fit_transform([texts[item] for item in warm_n])
    rows_CV = vectorizer.transform([texts[item] for item in cold_C])
    regularised = (rows_nV @ rows_nV.T).toarray()
    regularised[np.diag_indices(len(warm_n))] += np.float32(RIDGE_PENALTY)
    factor = cho_factor(regularised, lower=True, overwrite_a=True, check_finite=False)
    map_nC = cho_solve(factor, (rows_nV @ rows_CV.T).toarray(), check_finite=False)
    del regularised, factor
    scores = {
        "TF-IDF profile": (normalize(clicks_Un @ rows_nV) @ rows_CV.T).toarray(),
        "ridge TF-IDF -> raw interactions": clicks_Un @ map_nC,
    }
    weights_nn = ease(all_Nn, EASE_PENALTY)
    scores["ridge TF-IDF -> EASE"] = clicks_Un @ (weights_nn @ map_nC)
    tenth_n = np.partition(weights_nn, -_TOP, axis=0)[-_TOP]
    weights_nn[weights_nn < tenth_n] = 0
    scores["ridge TF-IDF -> EASE (top 10)"] = clicks_Un @ (csr_matrix(weights_nn) @ map_nC)
    return {name: np.asarray(score_UC, np.float32).ravel() for name, score_UC in scores.items()}
