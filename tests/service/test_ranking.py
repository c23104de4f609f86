"""The arithmetic of a ranking, on cases by hand and against plain Python."""

import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as arrays

from recsys_text.service.ranking import best_first, diversified, log_odds, probability

scores = st.lists(st.floats(0, 1, width=32), min_size=1, max_size=12)
directions = st.lists(st.sampled_from([(1.0, 0.0), (0.0, 1.0), (0.6, 0.8), (-1.0, 0.0), (0.0, 0.0)]), min_size=12)


@given(st.lists(st.floats(0, 1, width=32)))
def test_log_odds_are_finite_and_turn_back(probabilities):
    given_C = np.array(probabilities, dtype=np.float32)
    odds_C = log_odds(given_C)
    assert np.isfinite(odds_C).all()
    assert probability(odds_C) == pytest.approx(np.clip(given_C, 1e-6, 1 - 1e-6), abs=1e-6)


@given(arrays.arrays(np.float64, st.integers(0, 5), elements=st.floats(-1e300, 1e300)))
def test_probability_never_overflows_and_grows(values):
    found = probability(np.sort(values))
    assert ((found >= 0) & (found <= 1)).all()
    assert (np.diff(found) >= 0).all()
    assert probability(np.zeros(1))[0] == 0.5


@given(st.lists(st.floats(0, 1) | st.just(math.nan)))
def test_the_best_come_first_and_equals_as_they_came(values):
    order = best_first(np.array(values)).tolist()
    known = [place for place in range(len(values)) if not math.isnan(values[place])]
    unknown = [place for place in range(len(values)) if math.isnan(values[place])]
    assert order == sorted(known, key=lambda place: -values[place]) + unknown


def cosines(vectors):
    """Of vectors at length one, or zero."""
    directions_CW = np.array(vectors, dtype=np.float32)
    return directions_CW @ directions_CW.T


@given(values=scores, vectors=directions, diversity=st.floats(0, 0.99), count=st.integers(0, 14))
def test_diversity_is_maximal_marginal_relevance(values, vectors, diversity, count):
    vectors = vectors[: len(values)]
    found = diversified(np.array(values), cosines(vectors), diversity, count).tolist()
    assert len(found) == len(set(found)) == min(count, len(values))
    # What is chosen next is as good as anything left, up to rounding.
    low, span = min(values), max(values) - min(values)

    def gain(place, before):
        likest = max((float(np.dot(vectors[place], vectors[other])) for other in before), default=-math.inf)
        relevance = (1 - diversity) * (values[place] - low) / (span or 1)
        return relevance if not before else relevance - diversity * likest

    for number, place in enumerate(found):
        others = set(range(len(values))) - set(found[:number])
        best = max(gain(other, found[:number]) for other in others)
        assert gain(place, found[:number]) >= best - 1e-5


def test_diversity_by_hand():
    # a is best, b is like a, c is unlike both and a little worse than b.
    alike = cosines([(1, 0), (1, 0), (0, 1)])
    values = np.array([0.9, 0.8, 0.7])
    assert diversified(values, alike, 0.0, 3).tolist() == [0, 1, 2]
    assert diversified(values, alike, 0.5, 3).tolist() == [0, 2, 1]
    assert diversified(values, alike, 0.5, 1).tolist() == [0]
    assert diversified(values[:0], alike[:0, :0], 0.5, 3).tolist() == []


@given(values=scores, vectors=directions)
def test_no_diversity_keeps_the_order_of_the_scores(values, vectors):
    ordered = np.sort(np.array(values))[::-1]
    found = diversified(ordered, cosines(vectors[: len(values)]), 0.0, len(values))
    assert found.tolist() == list(range(len(values)))
