from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy.sparse import csr_matrix

from recsys_text.model.data import TrainSet
from recsys_text.model.scorer import build
from recsys_text.model.text_model import ALONE, DECAYS, PRIOR, TextModel, clicks_read
from recsys_text.model.wide import fit_wide
from recsys_text.sections import Model
from recsys_text.text.tokenizer import train_tokenizer

TEXTS = [f"{topic} {word} {number}" for number, word in enumerate("abcdefgh") for topic in ("land", "sea")]
IDS = [f"i{number}" for number in range(len(TEXTS))]
SHAPE = Model(vocabulary=330, dim=6, embedding=4, channels=2, hidden=3, match=4, collaborative=3, history=3, dropout=0)


def _model(clicked: bool = True) -> TextModel:
    draw = np.random.default_rng(0)
    clicks = (draw.random((30, len(TEXTS))) < 0.4) & (np.arange(30)[:, None] % 2 == np.arange(len(TEXTS)) % 2)
    tokenizer = train_tokenizer(TEXTS, SHAPE.vocabulary)
    wide = fit_wide(
        TEXTS,
        IDS,
        csr_matrix((clicks & clicked).astype(np.float32)),
        draw.uniform(1, 50, len(TEXTS)) if clicked else np.zeros(len(TEXTS)),
        np.ones(len(TEXTS), np.bool_),
        np.arange(len(TEXTS)),
        SHAPE,
        seed=1,
        most=100,
    )
    return TextModel(tokenizer=tokenizer, network=build(SHAPE, tokenizer.vocabulary, 1), wide=wide, weights=PRIOR)


@pytest.fixture(scope="module")
def model() -> TextModel:
    return _model()


def _with(model: TextModel, weights: tuple[float, ...]) -> TextModel:
    return TextModel(tokenizer=model.tokenizer, network=model.network, wide=model.wide, weights=weights)


def _put_clicked_first(candidates_NC: np.ndarray, logit_NC: np.ndarray, draw: np.random.Generator) -> None:
    """Draw the clicked candidate of each row by its logits, and swap it with the first one, in place."""
    clicked_N = (logit_NC + draw.gumbel(size=logit_NC.shape)).argmax(1)
    rows = np.arange(len(clicked_N))
    candidates_NC[rows, 0], candidates_NC[rows, clicked_N] = candidates_NC[rows, clicked_N], candidates_NC[:, 0].copy()


def test_interest_is_the_weighted_sum_of_its_parts(model):
    items = model.items(TEXTS, IDS)
    history_NH = np.array([[-1, 0, 2], [1, 3, 5], [-1, -1, -1]], np.int32)
    parts = [_with(model, tuple(np.eye(5)[k])).users(items, history_NH) @ items.candidate.T for k in range(5)]
    whole = model.users(items, history_NH) @ items.candidate.T
    np.testing.assert_allclose(whole, sum(weight * part for weight, part in zip(PRIOR, parts, strict=True)), atol=1e-5)


def test_a_user_without_history_has_only_the_appeal_of_the_wide_path(model):
    items = model.items(TEXTS, IDS)
    wide = _with(model, (0.0, *PRIOR[1:])).users(items, np.full((1, 3), -1, np.int32))
    assert (wide[0, :-1] == 0).all()
    assert wide[0, -1] == pytest.approx(PRIOR[-1])


def test_an_older_click_weighs_less_by_the_decay(model):
    items = model.items(TEXTS, IDS)
    alone = _with(model, (0.0, 1.0, 0.0, 0.0, 0.0))
    dim, match = model.settings.dim, model.wide.width[0]
    found = alone.users(items, np.array([[-1, 4, 7]], np.int32))[0, dim : dim + match]
    sum_M = model.decay * items.click[4, dim : dim + match] + items.click[7, dim : dim + match]
    np.testing.assert_allclose(found, sum_M / np.linalg.norm(sum_M), atol=1e-6)


def test_clicks_beyond_those_that_the_network_reads_count_in_the_wide_path_alone(model):
    items, draw = model.items(TEXTS, IDS), np.random.default_rng(3)
    history_NH = draw.integers(0, len(TEXTS), (4, clicks_read(SHAPE))).astype(np.int32)
    other_NH = history_NH.copy()
    other_NH[:, : -SHAPE.history] = (history_NH[:, : -SHAPE.history] + 1) % len(TEXTS)
    assert clicks_read(SHAPE) > SHAPE.history
    assert clicks_read(SHAPE.model_copy(update={"wide": False})) == SHAPE.history
    alone, whole = _with(model, ALONE), replace(model, decay=1.0)
    np.testing.assert_array_equal(alone.users(items, history_NH), alone.users(items, other_NH))
    match = slice(SHAPE.dim, SHAPE.dim + model.wide.width[0])
    assert (whole.users(items, history_NH)[:, match] != whole.users(items, other_NH)[:, match]).any(axis=1).all()


@given(decay=st.sampled_from(DECAYS), seed=st.integers(0, 1000), clicks=st.integers(0, 8))
def test_a_part_of_a_user_is_the_direction_of_the_decayed_sum_of_the_clicks(model, decay, seed, clicks):
    items, draw = model.items(TEXTS, IDS), np.random.default_rng(seed)
    history_NH = np.full((1, 8), -1, np.int32)
    history_NH[0, 8 - clicks :] = draw.integers(0, len(TEXTS), clicks)
    match = slice(SHAPE.dim, SHAPE.dim + model.wide.width[0])
    wanted = np.zeros(model.wide.width[0])
    for item in history_NH[0, 8 - clicks :]:
        wanted = decay * wanted + items.click[item, match]
    wanted *= PRIOR[1] / (np.linalg.norm(wanted) or 1)
    np.testing.assert_allclose(replace(model, decay=decay).users(items, history_NH)[0, match], wanted, atol=1e-5)


def test_the_network_alone_hears_nothing_of_the_wide_path(model):
    items = model.items(TEXTS, IDS)
    users = _with(model, ALONE).users(items, np.array([[0, 1, 2]], np.int32))
    assert (users[0, model.settings.dim :] == 0).all()


def test_weights_that_made_the_clicks_are_found(model):
    items = model.items(TEXTS, IDS)
    draw = np.random.default_rng(2)
    history_NH = draw.integers(0, len(TEXTS), (4000, 3)).astype(np.int32)
    candidates_NC = draw.permuted(np.tile(np.arange(len(TEXTS)), (4000, 1)), axis=1)[:, :6].astype(np.int32)
    blank = TrainSet(history_NH=history_NH, candidates_NC=candidates_NC)
    prior = model.weighed_for_masked_items(items, blank).weights
    planted = (1.5 * prior[0], 1.5, 2.0, 1.0, PRIOR[-1])
    users = _with(model, planted).users(items, history_NH)
    logit_NC = np.einsum("nd,ncd->nc", users, items.candidate[candidates_NC])
    _put_clicked_first(candidates_NC, logit_NC, draw)
    planted_rows = TrainSet(history_NH=history_NH, candidates_NC=candidates_NC)
    found = model.weighed(items, planted_rows, np.ones(4000, np.bool_))
    np.testing.assert_allclose(found.weights, planted, rtol=0.4)
    # Without a click on a new item all clicks say it, and none of it is said where items are masked.
    known = model.weighed(items, planted_rows, np.zeros(4000, np.bool_))
    np.testing.assert_allclose(known.weights, found.weights, rtol=0.1)
    assert known.decay == found.decay
    masked = model.weighed_for_masked_items(items, planted_rows)
    assert (masked.weights[1:], masked.decay) == (PRIOR[1:], 1.0)


def test_clicks_on_new_items_weigh_the_parts_in_place_of_the_others():
    model = _model()
    items = model.items(TEXTS, IDS)
    draw = np.random.default_rng(6)
    history_NH = draw.integers(0, len(TEXTS), (8000, 3)).astype(np.int32)
    candidates_NC = draw.permuted(np.tile(np.arange(len(TEXTS)), (8000, 1)), axis=1)[:, :6].astype(np.int32)
    fresh_N = np.arange(8000) < 4000
    logit_NC = np.where(
        fresh_N[:, None],
        *(
            np.einsum("nd,ncd->nc", _with(model, planted).users(items, history_NH), items.candidate[candidates_NC])
            for planted in ((0.0, 6.0, 0.0, 0.0, 0.0), (0.0, 0.0, 6.0, 0.0, 0.0))
        ),
    )
    _put_clicked_first(candidates_NC, logit_NC, draw)
    train = TrainSet(history_NH=history_NH, candidates_NC=candidates_NC)
    match, collaborative = model.weighed(items, train, fresh_N).weights[1:3]
    assert match > 2 * collaborative
    match, collaborative = model.weighed(items, train, np.zeros(8000, np.bool_)).weights[1:3]
    assert match < 2 * collaborative


def test_how_fast_clicks_fade_is_found():
    model = _model()
    items = model.items(TEXTS, IDS)
    draw = np.random.default_rng(3)
    history_NH = draw.integers(0, len(TEXTS), (4000, 3)).astype(np.int32)
    candidates_NC = draw.permuted(np.tile(np.arange(len(TEXTS)), (4000, 1)), axis=1)[:, :6].astype(np.int32)
    planted = replace(_with(model, (0.0, 12.0, 0.0, 0.0, 0.0)), decay=0.6)
    logit_NC = np.einsum("nd,ncd->nc", planted.users(items, history_NH), items.candidate[candidates_NC])
    _put_clicked_first(candidates_NC, logit_NC, draw)
    train = TrainSet(history_NH=history_NH, candidates_NC=candidates_NC)
    assert model.weighed(items, train, np.ones(4000, np.bool_)).decay == 0.6


def test_before_anything_is_proven_the_network_tells_candidates_as_far_apart_as_match():
    model = _model()
    items = model.items(TEXTS, IDS)
    draw = np.random.default_rng(4)
    rows = TrainSet(
        history_NH=draw.integers(0, len(TEXTS), (200, 3)).astype(np.int32),
        candidates_NC=np.tile(np.arange(len(TEXTS), dtype=np.int32), (200, 1)),
    )
    found = model.weighed_for_masked_items(items, rows)
    spread = [
        np.std(part - part.mean(axis=1, keepdims=True))
        for part in (
            replace(found, weights=(*found.weights[:1], 0, 0, 0, 0)).users(items, rows.history_NH) @ items.candidate.T,
            replace(found, weights=(0, found.weights[1], 0, 0, 0)).users(items, rows.history_NH) @ items.candidate.T,
        )
    ]
    assert spread[0] == pytest.approx(spread[1], rel=1e-3)


@pytest.mark.parametrize("clicked", [True, False])
def test_without_rows_the_weights_stay(clicked):
    model = _model(clicked)
    none = TrainSet(history_NH=np.zeros((0, 3), np.int32), candidates_NC=np.zeros((0, 4), np.int32))
    found = model.weighed(model.items(TEXTS, IDS), none, np.zeros(0, np.bool_))
    assert found.weights == pytest.approx(PRIOR)
    assert found.decay == DECAYS[0]


def test_a_part_without_columns_keeps_its_weight():
    model = _model(clicked=False)
    assert model.wide.width == (0, 0, 0)
    draw = np.random.default_rng(4)
    rows = TrainSet(
        history_NH=draw.integers(0, len(TEXTS), (200, 3)).astype(np.int32),
        candidates_NC=draw.integers(0, len(TEXTS), (200, 4)).astype(np.int32),
    )
    weights = model.weighed(model.items(TEXTS, IDS), rows, np.ones(200, np.bool_)).weights
    assert weights[1:3] == pytest.approx(PRIOR[1:3])


def test_what_is_saved_says_the_same(model, tmp_path):
    model.save(tmp_path)
    again = TextModel.load(tmp_path)
    assert again.weights == model.weights
    np.testing.assert_array_equal(again.items(TEXTS, IDS).candidate, model.items(TEXTS, IDS).candidate)
