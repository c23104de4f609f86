"""Where users' clicks place items, of logs whose co-clicks have fewer directions than the rank that is asked for."""

import numpy as np
import pytest
from scipy.sparse import csr_matrix

from recsys_text.model import wide


def clicks(users: int, items: int, *, share: float) -> csr_matrix:
    drawn_UI = np.random.default_rng(5).random((users, items)) < share
    return csr_matrix(drawn_UI.astype(np.float32))


@pytest.mark.parametrize("direct", [wide._DIRECT, 0], ids=["dense", "Lanczos"])
@pytest.mark.parametrize(("users", "items"), [(1, 40), (2, 3), (9, 400), (69, 300), (300, 30)])
def test_the_rank_is_cut_to_what_the_users_bear(
    users: int, items: int, direct: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(wide, "_DIRECT", direct)
    clicks_UI = clicks(users, items, share=0.4)
    place_NR = wide._places(clicks_UI, np.asarray(clicks_UI.sum(0)).ravel(), 128, seed=7)
    assert place_NR.shape[0] == items
    assert place_NR.shape[1] <= min(users, items)
    assert np.isfinite(place_NR).all()


def test_what_has_not_converged_is_left_out(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(wide, "_DIRECT", 0)
    monkeypatch.setattr(wide, "_RESTARTS", 1)
    clicks_UI = clicks(300, 400, share=0.2)
    place_NR = wide._places(clicks_UI, np.asarray(clicks_UI.sum(0)).ravel(), 100, seed=7)
    assert place_NR.shape[0] == 400
    assert np.isfinite(place_NR).all()


def test_dense_and_lanczos_find_the_same_places(monkeypatch: pytest.MonkeyPatch) -> None:
    clicks_UI = clicks(200, 120, share=0.1)
    counts_N = np.asarray(clicks_UI.sum(0)).ravel()
    dense_NR = wide._places(clicks_UI, counts_N, 5, seed=7)
    monkeypatch.setattr(wide, "_DIRECT", 0)
    sparse_NR = wide._places(clicks_UI, counts_N, 5, seed=7)
    np.testing.assert_allclose(dense_NR @ dense_NR.T, sparse_NR @ sparse_NR.T, atol=1e-3)
