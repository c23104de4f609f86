import numpy as np

from recsys_text.evaluation.importance import permuted


def test_only_the_feature_that_is_read_is_missed() -> None:
    random = np.random.default_rng(4)
    features_PF = random.normal(size=(400, 3)).astype(np.float32)
    offsets = np.arange(0, 401, 10)
    clicked_P = np.zeros(400, np.bool_)
    clicked_P[[start + np.argmax(features_PF[start : start + 10, 1]) for start in offsets[:-1]]] = True
    before = features_PF.copy()
    lost = permuted(lambda given: given[:, 1].astype(np.float64), features_PF, clicked_P, offsets, [1, 0], seed=1)
    assert lost[0] == 0
    assert 0.3 < lost[1] < 1
    assert (features_PF == before).all()
    again = permuted(lambda given: given[:, 1].astype(np.float64), features_PF, clicked_P, offsets, [1, 0], seed=1)
    assert again == lost


def test_without_a_click_nothing_is_known() -> None:
    nothing = np.zeros(4, np.bool_)
    assert (
        permuted(
            lambda given: given[:, 0].astype(float),
            np.zeros((4, 1), np.float32),
            nothing,
            np.array([0, 4]),
            [0],
            seed=1,
        )
        == {}
    )
