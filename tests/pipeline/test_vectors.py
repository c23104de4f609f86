"""Vectors beside the scores: what is in them, and what they tell where there is no score."""

import json
from dataclasses import replace
from datetime import timedelta
from pathlib import Path

import numpy as np
import polars as pl
import pyarrow as pa
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays
from numpy.typing import NDArray
from scipy.special import logit
from scipy.stats import spearmanr

from recsys_text import matching
from recsys_text.bundle import Bundle
from recsys_text.config import Settings, load
from recsys_text.following import followed
from recsys_text.matching import Match, fit_match, half, popularity, user_vectors
from recsys_text.ranking.candidates import pool_impressions
from recsys_text.ranking.log import HOUR, Impressions, build_log, micros
from recsys_text.steps.inputs import Inputs, the_store
from recsys_text.steps.publish import VIEWS
from tests.conftest import DAYS, START

Floats = NDArray[np.float32]
END = micros(START + timedelta(days=DAYS - 1))


@pytest.fixture(scope="module")
def tables(published_template: Path) -> dict[str, pl.DataFrame]:
    """All rows of each view, by key."""
    settings = load(published_template / "recsys.toml")
    keys = {"item_vectors": "items", "user_vectors": "events", "user_scores": "events"}
    found = {}
    with the_store(settings) as store:
        for view, source in keys.items():
            name = "item_id" if source == "items" else "user_id"
            known = pl.read_parquet(published_template / f"{source}.parquet")[name].unique().sort().to_list()
            frame = pl.from_arrow(store.snapshot(view).get_many(known))
            assert isinstance(frame, pl.DataFrame)
            found[view] = frame
    return found


def match_of(settings: Settings) -> Match:
    with the_store(settings) as store:
        return Match(**json.loads(store.reader("item_vectors").info.metadata["match"]))


def vectors(table: pl.DataFrame) -> Floats:
    return table["vector"].to_numpy().astype(np.float32)


def test_all_views_are_one_publication(published: Settings) -> None:
    with the_store(published) as store:
        infos = {view: store.reader(view).info for view in VIEWS}
        schemas = {view: store.snapshot(view).schema for view in VIEWS}
    assert len({info.version for info in infos.values()}) == 1
    told = [{key: info.metadata[key] for key in ("as_of", "model_version", "last_window")} for info in infos.values()]
    assert told == [told[0]] * 3
    assert told[0] == {"as_of": "2024-05-06T00:00:00+00:00", "model_version": "1", "last_window": "2024-05-05"}
    kinds = [schemas[view].field("vector").type for view in ("item_vectors", "user_vectors")]
    assert kinds[0] == kinds[1]
    assert kinds[0].value_type == pa.float16()
    assert schemas["item_vectors"].names == ["item_id", "vector", "title", "category", "popular", "near"]
    assert schemas["item_vectors"].field("popular").type == pa.float32()
    assert schemas["user_vectors"].names == ["user_id", "vector", "history"]


def test_the_product_of_both_vectors_is_the_interest(tables: dict[str, pl.DataFrame]) -> None:
    items, users = tables["item_vectors"], tables["user_vectors"]
    product = vectors(users) @ vectors(items).T
    bound = np.abs(vectors(users)) @ np.abs(vectors(items)).T * 2.0**-9 + 1e-4  # interests are rounded to four digits
    place = {item_id: at for at, item_id in enumerate(items["item_id"].to_list())}
    spread = []
    for at, row in enumerate(tables["user_scores"].iter_rows(named=True)):
        where = [place[item_id] for item_id in row["item_id"]]
        assert (np.abs(product[at, where] - row["interest"]) <= bound[at, where]).all()
        spread.append(np.ptp(row["interest"]) / bound[at, where].max())
    assert np.median(spread) > 20, "the bound is far below what tells items apart"


finite = st.floats(-1e6, 1e6, width=32)


@given(arrays(np.float32, 40, elements=finite), arrays(np.float32, 40, elements=finite))
def test_no_vector_overflows_and_rounding_is_bound(user: Floats, item: Floats) -> None:
    assert np.isfinite(half(user)).all()
    u, v = (np.clip(vec, -65504, 65504).astype(np.float64) for vec in (user, item))
    rounded = half(user).astype(np.float64) @ half(item).astype(np.float64)
    tiny = 2.0**-25 * (np.abs(u) + np.abs(v) + 1).sum()
    assert abs(u @ v - rounded) <= 1.001 * 2.0**-10 * np.abs(u * v).sum() + tiny


def test_histories_are_the_last_clicks(published_template: Path, tables: dict[str, pl.DataFrame]) -> None:
    events = pl.read_parquet(published_template / "events.parquet").sort("occurred_at")
    before = events.filter(pl.col("occurred_at") < START + timedelta(days=DAYS - 1))
    last = before.group_by("user_id").agg(pl.col("item_id").tail(5)).sort("user_id")
    users = tables["user_vectors"].drop_nulls("user_id").sort("user_id")
    assert users["user_id"].to_list() == last["user_id"].to_list()
    assert users["history"].to_list() == last["item_id"].to_list()


def test_items_are_described(published_template: Path, tables: dict[str, pl.DataFrame]) -> None:
    source = pl.read_parquet(published_template / "items.parquet").sort("item_id")
    items = tables["item_vectors"]
    assert items["title"].to_list() == source["title"].to_list()
    assert items["category"].null_count() == len(items)
    topic = {item_id: set(title.split()[:3]) for item_id, title in source.select("item_id", "title").iter_rows()}
    for own, near in items.select("item_id", "near").iter_rows():
        assert len(set(near)) == len(near) > 5
        assert own not in near
        assert [topic[item_id] for item_id in near] == [topic[own]] * len(near), "no word of another topic is shared"


def test_popular_is_what_a_stranger_is_told(
    trained: tuple[Bundle, Inputs], published: Settings, tables: dict[str, pl.DataFrame]
) -> None:
    bundle, data = now(trained, published), trained[1]
    items = tables["item_vectors"]
    impression = Impressions(
        user=np.array([-1], np.int32),
        time=np.array([END]),
        offsets=np.array([0, len(items)]),
        item=data.log.item_codes(items["item_id"]),
        clicked=np.zeros(len(items), np.bool_),
        horizon=24 * HOUR,
    )
    _, score_P = bundle.score(data.log, bundle.text.items(data.texts, data.log.item_ids), impression)
    assert items["popular"].to_list() == pytest.approx(score_P.tolist(), rel=1e-5)
    assert items["popular"].n_unique() > 5


def now(trained: tuple[Bundle, Inputs], settings: Settings) -> Bundle:
    bundle, data = trained
    items = bundle.text.items(data.texts, data.log.item_ids)
    at = np.array([END])
    return followed(bundle, data.log, items, at, windows=data.spans, refresh=None, seed=settings.evaluation.seed)


def scored(bundle: Bundle, data: Inputs) -> tuple[Impressions, Floats, Floats]:
    users = np.arange(len(data.log.user_ids), dtype=np.int32)
    (pools,) = pool_impressions(data.log, np.full(len(users), END), users, bundle.candidates, 24 * HOUR)
    interest_P, score_P = bundle.score(data.log, bundle.text.items(data.texts, data.log.item_ids), pools)
    return pools, interest_P, score_P


def test_the_match_is_the_nearest_to_the_scores(
    trained: tuple[Bundle, Inputs], published: Settings, tables: dict[str, pl.DataFrame]
) -> None:
    bundle, data = now(trained, published), trained[1]
    pools, interest_P, score_P = scored(bundle, data)
    popular_P = tables["item_vectors"]["popular"].to_numpy()[pools.item]
    told_P = match_of(published).predict(interest_P, popular_P)
    known_P3 = np.stack([np.ones(len(popular_P)), interest_P, logit(popular_P.astype(np.float64))], axis=1)
    assert told_P.sum() == pytest.approx(score_P.sum(), rel=1e-3)
    np.testing.assert_allclose(known_P3.T @ (told_P - score_P) / score_P.sum(), 0, atol=2e-3)


def test_the_match_orders_as_the_score_does(
    trained: tuple[Bundle, Inputs], published: Settings, tables: dict[str, pl.DataFrame]
) -> None:
    """With the published vectors alone, of items that have a score, as if they had none."""
    pools, _, score_P = scored(now(trained, published), trained[1])
    items, users = tables["item_vectors"], tables["user_vectors"]
    interest_P = np.einsum("pw,pw->p", vectors(users)[pools.user[pools.row]], vectors(items)[pools.item])
    popular_P = items["popular"].to_numpy()[pools.item]
    told_P = match_of(published).predict(interest_P, popular_P)
    cuts = pools.offsets[1:-1]

    def agreement(said_P: NDArray[np.floating]) -> float:
        both = zip(np.split(said_P, cuts), np.split(score_P, cuts), strict=True)
        return float(np.mean([spearmanr(said, score).statistic for said, score in both]))

    assert agreement(told_P) > 0.5
    assert agreement(told_P) > agreement(popular_P) + 0.2
    assert match_of(published).interest > 0
    highest = told_P > np.quantile(told_P, 0.9)
    assert told_P[highest].mean() == pytest.approx(score_P[highest].mean(), rel=0.5)


def test_items_outside_the_pool_are_not_popular(trained: tuple[Bundle, Inputs]) -> None:
    bundle, data = trained
    narrow = bundle.candidates.model_copy(update={"pool": "alive", "active": timedelta(hours=3)})
    items = bundle.text.items(data.texts, data.log.item_ids)
    popular_I = popularity(replace(bundle, candidates=narrow), data.log, items, END)
    log = data.log
    alive = np.unique(log.item[log.positive & (log.time >= END - 3 * 3_600_000_000) & (log.time < END)])
    assert 0 < len(alive) < len(items)
    np.testing.assert_array_equal(np.flatnonzero(~np.isnan(popular_I)), alive)


def test_without_a_user_what_is_popular_is_all_there_is(
    trained: tuple[Bundle, Inputs], published_template: Path
) -> None:
    bundle, data = trained
    log = build_log(data.items, pl.read_parquet(published_template / "events.parquet").clear())
    items = bundle.text.items(data.texts, log.item_ids)
    popular_I = popularity(bundle, log, items, END)
    assert np.isfinite(popular_I).all()
    assert fit_match(bundle, log, items, popular_I, END, seed=7) == Match(level=0, interest=0, popular=1)
    assert Match(level=0, interest=0, popular=1).predict(popular_I, popular_I) == pytest.approx(popular_I)


def test_few_users_tell_the_match(trained: tuple[Bundle, Inputs], monkeypatch: pytest.MonkeyPatch) -> None:
    bundle, data = trained
    items = bundle.text.items(data.texts, data.log.item_ids)
    popular_I = popularity(bundle, data.log, items, END)
    whole = fit_match(bundle, data.log, items, popular_I, END, seed=7)
    assert fit_match(bundle, data.log, items, popular_I, END, seed=8) == whole, "all users are few"
    monkeypatch.setattr(matching, "PAIRS", 20 * len(items))
    half_of_them = fit_match(bundle, data.log, items, popular_I, END, seed=7)
    assert half_of_them != whole
    assert fit_match(bundle, data.log, items, popular_I, END, seed=7) == half_of_them
    assert half_of_them.interest == pytest.approx(whole.interest, rel=0.5)


def test_a_user_vector_ends_before_its_time(trained: tuple[Bundle, Inputs]) -> None:
    bundle, data = trained
    items, user = bundle.text.items(data.texts, data.log.item_ids), data.log.user_codes(pl.Series(["u001"]))
    own = data.log.time[data.log.user == user]
    before, after = (user_vectors(bundle, data.log, items, user, int(own[-1]) + late) for late in (0, 1))
    assert after[1][0, -1] == data.log.item[data.log.user == user][-1]
    assert (before[1][0, 1:] if (before[1] >= 0).all() else before[1][0])[-1] == after[1][0, -2]
    assert (before[0] != after[0]).any()
