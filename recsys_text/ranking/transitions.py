"""Which click followed which, and when. Knows grouped events, neither the log nor a score.

A transition (a, b) is a click on b among the next few clicks of a user after a click on a, b being another item. Its
time is that of the later click, so that a transition counted at t lies wholly before t.

Nothing is kept of them but where each click on an item stands among its user's clicks, 4 bytes a click: what followed
is read off there when it is asked for. So that a question takes a bounded time however popular an item is, only the
NEWEST clicks on the item strictly before t are looked at.

Shapes: E clicks, Q questions, M transitions, C clicks on the items that are asked for.
"""

from dataclasses import dataclass

import numpy as np

from recsys_text.ranking.timeline import Int32, Int64, Ints, Timeline, Times, expand

#: The clicks of a user after a click on a of which each is a transition from a.
WINDOW = 5
#: The clicks on an item before a time that tell what follows it, the newest ones.
NEWEST = 400


@dataclass(frozen=True, kw_only=True, eq=False)
class Found:
    """M transitions. question: int64[M], which question each belongs to; item: int32[M], what was clicked later, and
    rank: int64[M], the rank of the time of that.
    """

    question: Int64
    item: Int32
    rank: Int64


@dataclass(frozen=True, kw_only=True, eq=False)
class Transitions:
    """The clicks by user (`own`, whose values are items) and by item, and where the latter stand among the former.

    place: int[E], the position in `own` of each click of `of_item`.
    """

    own: Timeline
    of_item: Times
    place: Ints

    def looked_at(self, item_Q: Ints, rank_Q: Int64) -> Int64:
        """How many clicks on each item (-1: none) before each rank are looked at, at most NEWEST."""
        count_Q: Int64 = self.of_item.stop(item_Q, rank_Q) - self.of_item.begin(item_Q)
        return count_Q.clip(max=NEWEST)

    def after(self, item_Q: Ints, rank_Q: Int64, window: int = WINDOW) -> Found:
        """The transitions from each item (-1: none) before each rank. With a window of 1 only the next click counts."""
        count_Q = self.looked_at(item_Q, rank_Q)
        place_C = self.place[expand(self.of_item.stop(item_Q, rank_Q) - count_Q, count_Q)].astype(np.int64)
        question_C = np.repeat(np.arange(len(item_Q)), count_Q)
        item_C = item_Q[question_C]
        # The first that is no click of this user before the rank: the users' clicks stand one after the other.
        first_C = self.own.packed[place_C]
        base_C = first_C - first_C % (len(self.own.clock) + 1)
        limit_C = base_C + rank_Q[question_C]
        questions, items, ranks = [], [], []
        for lag in range(1, window + 1):
            at_C = np.minimum(place_C + lag, len(self.own.packed) - 1)
            packed_C, later_C = self.own.packed[at_C], self.own.value[at_C]
            moved = np.flatnonzero((at_C == place_C + lag) & (packed_C < limit_C) & (later_C != item_C))
            questions.append(question_C[moved])
            items.append(later_C[moved].astype(np.int32))
            ranks.append(packed_C[moved] - base_C[moved])
        return Found(question=np.concatenate(questions), item=np.concatenate(items), rank=np.concatenate(ranks))


def transitions(own: Timeline, of_item: Times) -> Transitions:
    """own, of_item: the same clicks by user, with items as values, and by item."""
    events = len(own.packed)
    key = own.value.astype(np.int64)
    key *= events + 1
    key += own.ranks(slice(None))
    place = np.argsort(key, kind="stable")
    return Transitions(own=own, of_item=of_item, place=place.astype(np.int32 if events < 1 << 31 else np.int64))
