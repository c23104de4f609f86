"""What a model must not be able to know: labels drawn at random, and clicks that are yet to come."""

from datetime import timedelta
from pathlib import Path

import numpy as np
import polars as pl

from recsys_text.bundle import Bundle
from recsys_text.evaluation.bootstrap import interval
from recsys_text.evaluation.metrics import auc, rank_clicked
from recsys_text.ranking.features import FEATURES
from recsys_text.ranking.log import Impressions, build_log, micros
from recsys_text.steps.inputs import Inputs
from recsys_text.text.normalise import item_text

DRAWS = 20


def test_labels_drawn_at_random_are_ranked_at_random(trained: tuple[Bundle, Inputs]) -> None:
    bundle, data = trained
    log, draw = data.log, np.random.default_rng(5)
    users, number = np.arange(len(log.user_ids), dtype=np.int32), len(log.item_ids)
    shown = Impressions(
        user=users,
        time=draw.integers(micros(bundle.cutoff), log.time[-1], len(users)),
        offsets=np.arange(len(users) + 1, dtype=np.int64) * number,
        item=np.tile(np.arange(number, dtype=np.int32), len(users)),
        clicked=np.zeros(len(users) * number, np.bool_),
    )
    items = bundle.text.items(data.texts, log.item_ids)
    for said_P in bundle.compare(log, items, shown):
        found = []
        for _ in range(DRAWS):
            clicked_P = np.zeros(len(shown.item), np.bool_)
            clicked_P[shown.offsets[:-1] + draw.integers(0, number, len(users))] = True
            found.append(auc(rank_clicked(said_P, clicked_P, shown.offsets)))
        around = interval(np.concatenate(found), np.tile(users, DRAWS), resamples=1000, seed=1)
        assert around.low < 0.5 < around.high


def test_an_item_that_will_be_clicked_looks_like_its_twin_that_will_not(
    trained: tuple[Bundle, Inputs], published_template: Path
) -> None:
    bundle, data = trained
    events = pl.read_parquet(published_template / "events.parquet")
    twins = ["aa twin", "zz twin"]
    known = bundle.cutoff
    copies = [
        data.items.head(1).with_columns(
            item_id=pl.lit(name), known_at=pl.lit(known).cast(data.items.schema["known_at"])
        )
        for name in twins
    ]
    catalogue = pl.concat([data.items, *copies]).sort("item_id")
    first_click = known + timedelta(hours=5)
    later = events.head(40).with_columns(
        item_id=pl.lit("zz twin"), occurred_at=pl.lit(first_click).cast(events.schema["occurred_at"])
    )
    log = build_log(catalogue, pl.concat([events, later]))
    at = log.item_codes(pl.Series(twins))
    items = bundle.text.items(item_text(catalogue).to_list(), log.item_ids)
    users = np.arange(-1, len(log.user_ids), dtype=np.int32)
    others = np.arange(len(log.item_ids), dtype=np.int32)

    def said(hours: float) -> tuple[np.ndarray, np.ndarray]:
        shown = Impressions(
            user=users,
            time=np.full(len(users), micros(known + timedelta(hours=hours)), np.int64),
            offsets=np.arange(len(users) + 1, dtype=np.int64) * len(others),
            item=np.tile(others, len(users)),
            clicked=np.zeros(len(users) * len(others), np.bool_),
        )
        return tuple(values.reshape(len(users), -1)[:, at] for values in bundle.score(log, items, shown))

    for hours in (0.5, 4.9, 5):
        for values in said(hours):
            np.testing.assert_allclose(values[:, 0], values[:, 1], rtol=1e-4, atol=1e-6)
    assert (said(5.1)[1][:, 0] != said(5.1)[1][:, 1]).any()


def test_no_feature_is_an_id_or_a_total_that_knows_the_future() -> None:
    for name in FEATURES:
        assert not any(part in f"{name}_" for part in ("_id_", "code", "ratings_count", "average_rating", "position"))
