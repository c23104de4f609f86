"""What there is to say of a user and an item without a score: vectors of both, and a probability made of their product
and of how popular the item is. Knows no lake and no store.

Shapes: I items, N users, P pairs of a user and an item, W columns of a vector (see `model.text_model`).
"""

import json
from dataclasses import asdict, dataclass

import numpy as np
from numpy.typing import NDArray
from scipy.optimize import minimize
from scipy.special import expit, logit

from recsys_text.bundle import Bundle
from recsys_text.model.text_model import Items, clicks_read
from recsys_text.ranking.candidates import histories, pool_impressions
from recsys_text.ranking.log import Int32, Log

Floats = NDArray[np.float32]
Doubles = NDArray[np.float64]
#: Pairs that a match is fitted on, about: they tell three numbers.
PAIRS = 300_000
# Where fitting starts: all is as popular as for everybody.
_POPULAR = np.array([0.0, 0.0, 1.0])
_LARGEST = float(np.finfo(np.float16).max)


@dataclass(frozen=True, kw_only=True)
class Match:
    """p = sigmoid(level + interest * i + popular * logit(q)): the calibrated match of a user and an item.

    i: the interest, q: what a user of whom nothing is known scores the item, in (0, 1). An item outside the pool has no
    q; it counts as the least popular one of its version: nobody clicked it lately.
    """

    level: float
    interest: float
    popular: float

    def predict(self, interest_P: Floats, popular_P: Floats) -> Doubles:
        """Probabilities, float64[P]."""
        odds_P = logit(np.asarray(popular_P, np.float64))
        return np.asarray(expit(self.level + self.interest * interest_P + self.popular * odds_P))

    def to_json(self) -> str:
        return json.dumps(asdict(self))


def half(vec: Floats) -> NDArray[np.float16]:
    """Vectors as they are published; values beyond what float16 holds, which no sound model has, become its largest.

    Each factor is rounded by 2**-11 of it at most (below 2**-14 by 2**-25), so that the interest of a user u and an
    item v is off by hardly more than 2**-10 * sum |u_w v_w|: on the books sample by 0.012 at most and 0.0004 on
    average, where the interests of a user have a standard deviation of 1.9.
    """
    return np.clip(vec, -_LARGEST, _LARGEST).astype(np.float16)


def user_vectors(bundle: Bundle, log: Log, items: Items, users_N: Int32, time: int) -> tuple[Floats, Int32]:
    """The vectors of users, float32[N, W], and the newest of the clicks they are made of, int32[N, history], as of a
    time.

    The clicks are those strictly before, oldest first; -1 is padding before the oldest. time: in microseconds.
    """
    history_NH = histories(log, users_N, np.full(len(users_N), time), clicks_read(bundle.text.settings))
    newest_NH = history_NH[:, -bundle.text.settings.history :]
    return bundle.text.users(items, history_NH, bundle.text.who(users_N, log.user_ids)), newest_NH


def popularity(bundle: Bundle, log: Log, items: Items, time: int, horizon: int = 0) -> Floats:
    """What a user of whom nothing is known scores each item, float32[I]; NaN for items outside the pool at the time.

    horizon: for how long these scores are used; both in microseconds.
    """
    popular_I = np.full(len(items), np.nan, np.float32)
    for pool in pool_impressions(log, np.array([time]), np.array([-1], np.int32), bundle.candidates, horizon):
        popular_I[pool.item] = bundle.score(log, items, pool)[1]
    return popular_I


def fit_match(
    bundle: Bundle, log: Log, items: Items, popular_I: Floats, time: int, horizon: int = 0, *, seed: int
) -> Match:
    """The match nearest to the scores in cross-entropy, over the pools of users drawn evenly, about PAIRS in all.

    Its mean is that of the scores (a fractional logit, Papke and Wooldridge 1996). Least squares of the logits orders
    the many at the bottom of a pool a little better and tells the few at its top several times too much: what has no
    score would stand above what has one. popular_I: from `popularity` for that time and
    horizon. Where there is no user or no
    pool, what is popular is all there is.
    """
    alive = max(1, int((~np.isnan(popular_I)).sum()))
    count = min(len(log.user_ids), max(1, PAIRS // alive))
    users = np.sort(np.random.default_rng(seed).choice(len(log.user_ids), count, replace=False)).astype(np.int32)
    known, scores = [np.zeros((0, 3))], [np.zeros(0)]
    for pools in pool_impressions(log, np.full(len(users), time), users, bundle.candidates, horizon):
        interest_P, score_P = bundle.score(log, items, pools)
        odds_P = logit(popular_I[pools.item].astype(np.float64))
        known.append(np.stack([np.ones(len(odds_P)), interest_P, odds_P], axis=1))
        scores.append(score_P.astype(np.float64))
    known_P3, told_P = np.concatenate(known), np.concatenate(scores)

    def loss(at: Doubles) -> tuple[float, Doubles]:
        log_odds_P = known_P3 @ at
        value = np.logaddexp(0, log_odds_P).sum() - told_P @ log_odds_P
        return float(value) / clicks, known_P3.T @ (expit(log_odds_P) - told_P) / clicks

    clicks = max(told_P.sum(), 1e-9)
    level, interest, popular = minimize(loss, _POPULAR, jac=True, method="L-BFGS-B").x.tolist()
    return Match(level=level, interest=interest, popular=popular)
