"""The parts of the test that are measured apart: new users and items, long and short histories. Knows no scores.

Shapes: N impressions, P pairs of an impression and a candidate, I items.
"""

from collections.abc import Sequence

import numpy as np

from recsys_text.evaluation.metrics import Bool
from recsys_text.ranking.candidates import kept
from recsys_text.ranking.log import HOUR, NEVER, Impressions, Int64, Log
from recsys_text.ranking.repeats import repeats
from recsys_text.ranking.timeline import Times

#: A clicked item with so many clicks in a day, or fewer, is in the slice few_clicks.
FEW = 5
#: Categories that have a slice of their own.
CATEGORIES = 3


#: The definition of each slice, but those of categories, in words for people; "by then" is when scores were made.
DEFINITIONS = {
    "new_item": "a clicked item without a click before the cutoff of the training",
    "new_user": "a user without a click before the cutoff of the training",
    "no_history": "a user without a click by then",
    "one_click": "a user with one click by then",
    "history_2-5": "a user with 2 to 5 clicks by then",
    "history_6-20": "a user with 6 to 20 clicks by then",
    "history_over_20": "a user with more than 20 clicks by then",
    "never_clicked": "a clicked item without a click by then",
    "few_clicks": f"a clicked item with at most {FEW} clicks in the 24 hours before",
    "repeated": "a clicked item that its user had clicked by then",
    "not_repeated": "no clicked item that its user had clicked by then",
}


def slices(log: Log, impressions: Impressions, categories: Sequence[str | None], *, cutoff: int) -> dict[str, Bool]:
    """The name of each slice and the impressions in it, bool[N]; slices without impressions are left out.

    The names are those of DEFINITIONS, and "category: NAME" for a clicked item of one of the CATEGORIES that most
    impressions have. Only events strictly before the time of an impression count, which is when its scores were made.
    cutoff: of the training, in microseconds. categories: of each item, or None. Without a repeated click there are no
    slices `repeated` and `not_repeated`.
    """
    clicks, time_N, number = log.clicks_of_item, impressions.time, len(impressions)
    own = log.clicks_of_user
    before_N = own.stop(impressions.user, own.rank(time_N)) - own.begin(impressions.user)
    clicked = np.flatnonzero(impressions.clicked)
    row_Q, item_Q = impressions.row[clicked], impressions.item[clicked]
    stop_Q = clicks.stop(item_Q, clicks.rank(time_N)[row_Q])
    day_Q = stop_Q - clicks.stop(item_Q, clicks.rank(time_N - 24 * HOUR)[row_Q])

    def holding(chosen_Q: Bool) -> Bool:
        return np.bincount(row_Q[chosen_Q], minlength=number) > 0

    # The user -1 reads the last place, which holds nobody's first click.
    first_user = np.concatenate((_first(own), [NEVER]))
    found = {
        "all": np.ones(number, np.bool_),
        "new_item": holding(_first(clicks)[item_Q] >= cutoff),
        "new_user": first_user[impressions.user] >= cutoff,
        "no_history": before_N == 0,
        "one_click": before_N == 1,
        "history_2-5": (before_N >= 2) & (before_N <= 5),
        "history_6-20": (before_N >= 6) & (before_N <= 20),
        "history_over_20": before_N > 20,
        "never_clicked": holding(stop_Q == clicks.begin(item_Q)),
        "few_clicks": holding(day_Q <= FEW),
    }
    own_Q = repeats(log, kept(impressions, clicked))["own_clicks"]
    if (own_Q > 0).any():
        repeated_N = holding(own_Q > 0)
        found |= {"repeated": repeated_N, "not_repeated": ~repeated_N}
    names, code_I = np.unique([name or "" for name in categories], return_inverse=True)
    of_category = {str(name): holding(code_I[item_Q] == code) for code, name in enumerate(names) if name}
    largest = sorted(of_category, key=lambda name: (-int(of_category[name].sum()), name))[:CATEGORIES]
    found |= {f"category: {name}": of_category[name] for name in largest}
    return {name: chosen_N for name, chosen_N in found.items() if chosen_N.any()}


def _first(clicks: Times) -> Int64:
    """int64[G]: when each group's first click was, NEVER where there is none."""
    some = np.diff(clicks.start) > 0
    first = np.full(len(some), NEVER)
    first[some] = clicks.times(clicks.start[:-1][some])
    return first
