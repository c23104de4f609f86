import numpy as np

from recsys_text.evaluation.examples import SHOWN, chosen
from recsys_text.ranking.log import Impressions


def ranked(places: list[int], users: list[int]) -> tuple[np.ndarray, Impressions]:
    """Impressions of 20 candidates whose clicked one stands at these places; 0: nothing was clicked."""
    count = len(places)
    clicked = np.zeros((count, 20), np.bool_)
    for row, place in enumerate(places):
        clicked[row, place - 1] = place > 0
    shown = Impressions(
        user=np.array(users, np.int32),
        time=np.arange(count),
        offsets=np.arange(count + 1) * 20,
        item=np.tile(np.arange(20, dtype=np.int32), count),
        clicked=clicked.ravel(),
    )
    return np.tile(-np.arange(20.0), count), shown


def test_the_first_are_good_and_the_last_are_bad() -> None:
    places = [1, 2, 3, *[9] * 30, 20, 19, 18, 0]
    score_P, shown = ranked(places, list(range(len(places))))
    good, bad, place_N = chosen(score_P, shown, seed=3)
    assert set(good.tolist()) == {0, 1, 2}
    assert set(bad.tolist()) == {33, 34, 35}
    assert place_N.tolist() == places
    again = chosen(score_P, shown, seed=3)
    assert (again[0] == good).all()


def test_each_is_of_another_user_and_there_may_be_none() -> None:
    score_P, shown = ranked([1] * 30, [5] * 15 + [6] * 15)
    good, bad, _ = chosen(score_P, shown, seed=3)
    assert sorted(shown.user[good].tolist()) == [5, 6]
    assert len(bad) == 0
    score_P, shown = ranked([1] * 30, list(range(30)))
    assert len(chosen(score_P, shown, seed=3)[0]) == SHOWN


def test_equal_scores_stand_in_the_middle_of_their_places() -> None:
    _, shown = ranked([4], [1])
    _, bad, place_N = chosen(np.zeros(20), shown, seed=3)
    assert place_N.tolist() == [10]
    assert bad.tolist() == [0]
