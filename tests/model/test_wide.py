import numpy as np
import pytest
from scipy.sparse import csr_matrix

from recsys_text.errors import ConfigError
from recsys_text.model.ridge import Products, solve_in_place
from recsys_text.model.wide import Wide, _largest_eigenpairs, _squared, fit_wide, kernel_of
from recsys_text.sections import Model

TEXTS = [
    "red fox hunt", "red fox den", "red wolf hunt", "blue whale sea", "blue whale song", "blue dolphin sea",
    "red fox song", "blue sea den", "", "green lone thing",
]  # fmt: skip
IDS = [f"item {number}" for number in range(len(TEXTS))]
#: Each user reads of land or of the sea.
CLICKS = np.array(
    [
        [1, 1, 1, 0, 0, 0, 1, 0, 0, 0],
        [1, 1, 0, 0, 0, 0, 1, 0, 0, 0],
        [0, 1, 1, 0, 0, 0, 0, 0, 0, 0],
        [1, 0, 1, 0, 0, 0, 1, 0, 0, 0],
        [0, 0, 0, 1, 1, 1, 0, 0, 0, 0],
        [0, 0, 0, 1, 1, 0, 0, 0, 0, 0],
        [0, 0, 0, 0, 1, 1, 0, 0, 0, 0],
        [0, 0, 0, 1, 1, 1, 0, 0, 0, 0],
    ],
    np.float32,
)
SHOWN = np.full(len(TEXTS), CLICKS.sum() / len(TEXTS))


def _fitted(order=None, clicks=CLICKS, shown=SHOWN, most=100, **shape) -> Wide:
    order = np.arange(len(TEXTS)) if order is None else order
    settings = Model(**{"match": 6, "collaborative": 2, "content": 3, "penalty": 2.0, "curve": 2.0} | shape)
    return fit_wide(
        [TEXTS[item] for item in order],
        [IDS[item] for item in order],
        csr_matrix(clicks[:, order]),
        shown[order],
        np.ones(len(order), np.bool_),
        np.arange(len(TEXTS))[order],
        settings,
        seed=1,
        most=most,
    )


def test_full_rank_match_is_the_ridge_regression_of_the_clicks():
    wide = _fitted(match=100)
    candidate, click = wide.items([*TEXTS, "red fox cub"], [*IDS, "new"])
    match = wide.width[0]
    said = CLICKS @ click[:-1, :match] @ candidate[:, :match].T
    # By hand: the kernel of cosines, whatever else shares a word.
    rows = wide.terms.transform([*TEXTS, "red fox cub"])
    cosine = (rows @ rows.T).toarray()
    kernel = np.expm1(2 * cosine) / np.expm1(2)
    taught = kernel[:-1, :-1]
    direct = CLICKS @ np.linalg.solve(taught + 2.0 * np.eye(len(taught)), kernel[:-1])
    np.testing.assert_allclose(said, direct, atol=1e-3)


def test_users_of_length_one_are_told_apart_alike():
    """Whatever a user clicked, what is said of the candidates varies as much as of those of any other."""
    candidate, _ = _fitted(match=4).items(TEXTS)
    match_IM = candidate[:, :4]
    np.testing.assert_allclose(match_IM.T @ match_IM / len(TEXTS), np.eye(4), atol=1e-3)


def test_a_kernel_is_one_for_equal_texts_and_zero_for_strangers():
    rows = _fitted().terms.transform(["red fox hunt", "red fox hunt", "blue whale sea", "red fox song"])
    kernel = kernel_of(Products(rows)(rows), 2.0)
    assert kernel[0, 1] == pytest.approx(1)
    assert kernel[0, 2] == 0
    assert 0 < kernel[0, 3] < (rows[0] @ rows[3].T).toarray().item()


def test_what_is_clicked_together_lies_together_and_new_texts_lie_where_their_words_do():
    wide = _fitted()
    candidate, click = wide.items([*TEXTS, "red fox cub", "blue whale calf"], [*IDS, "new", "newer"])
    match, places, _ = wide.width
    place, own = (vec_IC[:, match : match + places] for vec_IC in (candidate, click))
    assert own[0] @ own[1] > 0.5
    assert own[0] @ own[3] < 0.1
    assert own[0] @ place[-2] > own[0] @ place[-1] + 0.3
    assert own[3] @ place[-1] > own[3] @ place[-2] + 0.3


def test_two_items_that_always_come_together_share_their_place():
    clicks = np.zeros((6, len(TEXTS)), np.float32)
    clicks[:3, [0, 1]] = 1
    clicks[3:, [3, 4]] = 1
    _, click = _fitted(clicks=clicks, content=0).items(TEXTS, IDS)
    own = click[:, -2:]
    assert own[0] @ own[1] > 0.8
    assert abs(own[0] @ own[3]) < 0.1


def test_what_is_clicked_more_often_than_shown_appeals():
    shown = SHOWN.copy()
    shown[:3] *= 5
    candidate, _ = _fitted(shown=shown).items(["red fox", "blue whale"])
    assert candidate[0, -1] < candidate[1, -1]


def test_content_of_full_rank_is_the_cosine_of_texts_that_taught_whoever_clicks_them():
    wide = _fitted(content=100)
    candidate, click = wide.items(TEXTS, IDS)
    match, places, content = wide.width
    about = candidate[:, match + places : -1]
    np.testing.assert_array_equal(about, click[:, match + places :])
    rows = wide.terms.transform(TEXTS)
    cosine = (rows @ rows.T).toarray()
    taught = np.flatnonzero(CLICKS.any(0))
    # A length is divided by what it is and 0.01 more.
    np.testing.assert_allclose(
        (about @ about.T)[np.ix_(taught, taught)] * 1.01**2, cosine[np.ix_(taught, taught)], atol=1e-2
    )
    assert content > 1


def test_a_candidate_is_its_text_alone():
    wide = _fitted()
    candidate, click = wide.items(["red fox hunt"] * 2, [IDS[0], "stranger"])
    np.testing.assert_array_equal(candidate[0], candidate[1])
    assert (click[0] != click[1]).any()


def test_a_text_without_a_known_term_says_nothing():
    candidate, click = _fitted().items(["", "unheard"])
    assert (candidate == 0).all()
    assert (click == 0).all()


def test_the_order_of_the_items_decides_nothing():
    order = np.random.default_rng(3).permutation(len(TEXTS))
    for first, second in zip(_fitted().items(TEXTS), _fitted(order).items(TEXTS), strict=True):
        np.testing.assert_allclose(first @ first.T, second @ second.T, atol=2e-3)


def test_what_is_saved_reads_the_same(tmp_path):
    wide = _fitted()
    wide.save(tmp_path)
    again = Wide.load(tmp_path)
    for first, second in zip(wide.items(TEXTS, IDS), again.items(TEXTS, IDS), strict=True):
        np.testing.assert_array_equal(first, second)


def test_where_nobody_clicked_two_items_there_are_no_places():
    wide = _fitted(clicks=np.eye(len(TEXTS), dtype=np.float32))
    assert wide.width[1] == 0
    assert np.isfinite(wide.items(TEXTS, IDS)[0]).all()


@pytest.mark.parametrize("known", [0, 1, 2])
def test_few_or_no_clicks_are_enough(known):
    clicks, shown = np.zeros_like(CLICKS), np.zeros(len(TEXTS))
    clicks[0, :known] = 1
    wide = _fitted(clicks=clicks, shown=shown)
    candidate, click = wide.items(TEXTS, IDS)
    assert np.isfinite(candidate).all()
    assert np.isfinite(click).all()
    assert candidate.shape[1] == sum(wide.width) + 1


def test_items_of_one_text_teach_as_if_each_had_a_row_of_its_own():
    """The kernel holds each text once, however many items have it."""
    texts = ["red fox hunt", "red fox hunt", "red fox hunt", "blue whale sea", "blue whale song"]
    clicks = np.array([[1, 0, 1, 0, 0], [1, 1, 0, 0, 0], [0, 1, 1, 1, 0], [0, 0, 0, 1, 1], [1, 0, 0, 0, 1]], np.float32)
    wide = fit_wide(
        texts,
        IDS[:5],
        csr_matrix(clicks),
        np.ones(5),
        np.ones(5, np.bool_),
        np.arange(5),
        Model(match=5, collaborative=2, content=2, penalty=2.0, curve=2.0),
        seed=1,
        most=5,
    )
    assert wide.rows_NV.shape[0] == 3
    candidate, click = wide.items(texts, IDS[:5])
    match = wide.width[0]
    rows = wide.terms.transform(texts)
    kernel = np.expm1(2 * (rows @ rows.T).toarray()) / np.expm1(2)
    direct = clicks @ np.linalg.solve(kernel + 2.0 * np.eye(5), kernel)
    np.testing.assert_allclose(clicks @ click[:, :match] @ candidate[:, :match].T, direct, atol=1e-3)


def test_the_most_clicked_items_teach_where_memory_bounds_their_number():
    wide = _fitted(most=4)
    assert wide.rows_NV.shape[0] == 4
    taught = wide.rows_NV.toarray()
    most = np.argsort(-CLICKS.sum(0), kind="stable")[:4]
    np.testing.assert_allclose(
        np.sort(taught, axis=0), np.sort(wide.terms.transform([TEXTS[i] for i in most]).toarray(), axis=0), atol=1e-6
    )


def test_eigenpairs_that_stand_out_are_nearly_exact():
    draw = np.random.default_rng(5)
    clicks = csr_matrix((draw.random((300, 400)) < np.linspace(0.01, 0.4, 400)).astype(np.float32))
    values, vectors = _largest_eigenpairs(_squared(clicks), 400, 20, seed=1)
    exact = np.linalg.eigvalsh((clicks.T @ clicks).toarray().astype(np.float64))[::-1]
    assert values[0] == pytest.approx(exact[0], rel=1e-5)
    np.testing.assert_allclose(values, exact[:20], rtol=0.05)
    np.testing.assert_allclose(vectors.T @ vectors, np.eye(20), atol=1e-4)


def test_a_penalty_that_rounding_swallows_is_named():
    kernel = np.ones((50, 50), np.float32)
    with pytest.raises(ConfigError, match=r"a regression on 50 texts has no solution with a penalty of 1e-12; raise"):
        solve_in_place(kernel, np.ones((50, 1), np.float32), np.full(50, 1e-12))
