"""How well the published vectors order the pool of a user, beside the scores that they stand in for.

    python benchmarks/match.py examples/books/recsys.toml

Takes what `recsys-text publish` served and scores the whole pools of USERS users anew, others than those that the match
was fitted on as a rule. Prints one JSON line for each order: by the match, by the least squares of the logits (see
`recsys_text.matching`), by interest and by what is popular. spearman: rank correlation with the scores of a pool, the
mean over users; ndcg, overlap: of the ten best by score, all of them worth the same; told: the mean probability of the
thousandth of pairs with the highest, beside their mean score. The last line says how far interests are rounded.
"""

import json
import sys
from collections.abc import Callable
from datetime import datetime
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy.special import logit
from scipy.stats import spearmanr

from recsys_text.bundle import Bundle
from recsys_text.config import load
from recsys_text.evaluation import metrics
from recsys_text.matching import Match
from recsys_text.model.text_model import clicks_read
from recsys_text.ranking.candidates import histories, joined, pool_impressions
from recsys_text.ranking.log import micros
from recsys_text.steps.inputs import ITEM_VECTORS, USER_VECTORS, inputs, registered_by, the_store
from recsys_text.steps.served import recalibrated

Doubles = NDArray[np.floating[Any]]
USERS, SEED, BEST = 300, 99, 10


def least_squares(interest_P: Doubles, popular_P: Doubles, score_P: Doubles) -> Match:
    known_P3 = np.stack([np.ones(len(interest_P)), interest_P, logit(popular_P)], axis=1)
    level, interest, popular = np.linalg.lstsq(known_P3, logit(score_P))[0].tolist()
    return Match(level=level, interest=interest, popular=popular)


def main() -> None:
    settings = load(Path(sys.argv[1]))
    with the_store(settings) as store:
        items, users = store.snapshot(ITEM_VECTORS), store.snapshot(USER_VECTORS)
    told = items.info.metadata
    as_of = datetime.fromisoformat(told["as_of"])
    bundle = Bundle.load(registered_by(settings, told["model_run"]).folder)
    data = inputs(settings, before=as_of)
    log, known = data.log, bundle.text.items(data.texts, data.log.item_ids)
    at = np.array([micros(as_of)])
    bundle = recalibrated(settings, bundle, data, known, at)

    drawn = np.random.default_rng(SEED).choice(len(log.user_ids), min(USERS, len(log.user_ids)), replace=False)
    drawn = np.sort(drawn).astype(np.int32)
    times = np.repeat(at, len(drawn))
    pools = joined(list(pool_impressions(log, times, drawn, bundle.candidates)))
    _, score_P = bundle.score(log, known, pools)
    score_P = score_P.astype(np.float64)

    table = items.get_many(log.item_ids)
    item_IW = matrix(table.column("vector"))
    user_NW = matrix(users.get_many([log.user_ids[user] for user in drawn]).column("vector"))
    interest_P = (user_NW @ item_IW.T)[pools.row, pools.item]
    popular_P = table.column("popular").to_numpy(zero_copy_only=False)[pools.item].astype(np.float64)
    match = Match(**json.loads(told["match"]))
    squares = least_squares(interest_P, popular_P, score_P)

    best_P = np.concatenate([part >= np.sort(part)[-BEST:][0] for part in np.split(score_P, pools.offsets[1:-1])])
    orders = {
        "match": match.predict(interest_P, popular_P),
        "least squares": squares.predict(interest_P, popular_P),
        "interest": interest_P,
        "popular": popular_P,
    }
    for name, said_P in orders.items():
        figures = metrics.evaluate(said_P, best_P, pools.offsets)
        row = {
            "order": name,
            "spearman": per_user(said_P, score_P, pools.offsets, lambda a, b: float(spearmanr(a, b).statistic)),
            "ndcg": float(np.nanmean(figures["ndcg@10"])),
            "overlap": per_user(said_P, score_P, pools.offsets, overlap),
        }
        if name in ("match", "least squares"):
            highest = said_P >= np.quantile(said_P, 0.999)
            row |= {"told": float(said_P[highest].mean()), "score": float(score_P[highest].mean())}
        print(json.dumps({key: round(value, 4) if isinstance(value, float) else value for key, value in row.items()}))

    history_NH = histories(log, drawn, times, clicks_read(bundle.text.settings))
    exact_NI = bundle.text.users(known, history_NH, bundle.text.who(drawn, log.user_ids)) @ known.candidate.T
    off = np.abs((user_NW @ item_IW.T) - exact_NI)
    spread = float(exact_NI.std(axis=1).mean())
    print(json.dumps({"rounding": {"largest": float(off.max()), "mean": float(off.mean()), "spread": spread}}))


def matrix(column: Any) -> Doubles:
    return np.asarray(column.flatten().to_numpy(zero_copy_only=False).reshape(len(column), -1), np.float32)


def per_user(
    said_P: Doubles, score_P: Doubles, offsets_N1: NDArray[np.int64], say: Callable[[Doubles, Doubles], float]
) -> float:
    cuts = offsets_N1[1:-1]
    return float(np.mean([say(*both) for both in zip(np.split(said_P, cuts), np.split(score_P, cuts), strict=True)]))


def overlap(said: Doubles, score: Doubles) -> float:
    best = [set(np.argsort(-each, kind="stable")[:BEST].tolist()) for each in (said, score)]
    return len(best[0] & best[1]) / min(BEST, len(score))


if __name__ == "__main__":
    main()
