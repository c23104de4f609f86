from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import ValidationError

from recsys_text.evaluation.alerts import state
from recsys_text.sections import Alert

FIGURES = st.lists(st.one_of(st.none(), st.floats(0, 1)), max_size=30)


def rule(**keys: Any) -> Alert:
    return Alert(**({"metric": "ndcg@10", "below": 0.5} | keys))


def fires(alert: Alert, values: list[float | None]) -> list[bool]:
    """Whether it fires after each of the windows."""
    names = [str(number) for number in range(len(values))]
    return [state(alert, names[: end + 1], values[: end + 1]).fires for end in range(len(values))]


def test_a_rule_fires_beyond_its_bound_and_keeps_quiet_at_it() -> None:
    assert fires(rule(), [0.6, 0.5, 0.49, 0.5]) == [False, False, True, False]
    assert fires(rule(below=None, above=0.5), [0.4, 0.5, 0.51, 0.5]) == [False, False, True, False]


def test_it_begins_and_ends_only_after_so_many_windows_one_after_the_other() -> None:
    assert fires(rule(windows=2), [0.4, 0.6, 0.4, 0.4, 0.6, 0.4, 0.6, 0.6]) == [
        *[False, False, False, True],
        *[True, True, True, False],
    ]


def test_between_the_bound_and_clear_it_stays_what_it_was() -> None:
    assert fires(rule(clear=0.7), [0.6, 0.4, 0.6, 0.69, 0.7, 0.6]) == [False, True, True, True, False, False]


def test_a_window_without_the_figure_says_nothing() -> None:
    assert fires(rule(windows=2), [0.4, None, 0.4, None]) == [False, False, True, True]
    assert fires(rule(), [None]) == [False]


def test_since_is_the_window_that_changed_it() -> None:
    found = state(rule(), ["a", "b", "c"], [0.4, 0.4, 0.4])
    assert (found.fires, found.since, found.changed) == (True, "a", False)
    ended = state(rule(), ["a", "b"], [0.4, 0.6])
    assert (ended.fires, ended.since, ended.changed) == (False, "b", True)
    assert state(rule(), ["a"], [0.6]).since is None


@given(values=FIGURES, windows=st.integers(1, 4), clear=st.floats(0.5, 1))
def test_it_never_fires_without_so_many_bad_windows(values: list[float | None], windows: int, clear: float) -> None:
    alert = rule(windows=windows, clear=clear)
    known = [value for value in values if value is not None]
    for number, now in enumerate(fires(alert, known)):
        before = number > 0 and fires(alert, known[:number])[-1]
        last = known[max(0, number + 1 - windows) : number + 1]
        if now and not before:
            assert len(last) == windows
            assert all(value < 0.5 for value in last)
        if before and not now:
            assert len(last) == windows
            assert all(value >= clear for value in last)


@pytest.mark.parametrize(
    ("keys", "says"),
    [
        ({"above": 0.5}, "one bound"),
        ({"below": None}, "one bound"),
        ({"clear": 0.4}, "clear = 0.4 is below 0.5"),
        ({"windows": 0}, "greater than 0"),
        ({"below": float("nan")}, "finite"),
    ],
)
def test_a_rule_that_can_mean_nothing_is_refused(keys: dict[str, Any], says: str) -> None:
    with pytest.raises(ValidationError, match=says):
        rule(**keys)
