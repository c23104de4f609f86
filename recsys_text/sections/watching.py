"""What is watched once scores are served: alerts on figures of the table `quality`."""

from collections.abc import Collection
from difflib import get_close_matches
from typing import Literal, Self

from pydantic import Field, model_validator

from recsys_text.sections.base import PositiveInt, Section

_USERS = ("all", "new_item", "new_user", "history_1-5", "history_6-20", "history_over_20", "shadow")
_WHOLE = ("calibration_error_top1%", "calibration_ratio", "coverage", "item_coverage@10", "users", "score_psi")
#: The metrics of the table `quality` and their slices; none are listed of `reject_rate`, which has one for each table,
#: and for each rule as `TABLE: RULE`.
SLICES: dict[str, tuple[str, ...]] = {
    **dict.fromkeys(("ndcg@10", "hit_rate@10", "auc", "diversity@10", "novelty@10"), _USERS),
    **dict.fromkeys(_WHOLE, ("all",)),
    "gain of ndcg@10": ("shadow",),
    "input_psi": ("event_type", "category", "age_hours", "clicks_per_user"),
    "null_rate": (
        *("items.description", "items.category", "items.published_at", "items.expires_at", "events.value"),
        "events.text",
    ),
    "reject_rate": (),
}


class Alert(Section):
    """A rule about one figure of the table `quality`, window by window.

    It fires once the figure was `above` (or `below`) its bound in `windows` windows one after the other, and is over
    once it was on the good side of `clear` (by default the bound itself) in as many. A window without the figure says
    nothing. Where `slice` is left out, the rule is about every slice of the metric by itself. `train` asks for a
    training when it begins to fire.
    """

    metric: str
    slice: str | None = None
    above: float | None = Field(default=None, allow_inf_nan=False)
    below: float | None = Field(default=None, allow_inf_nan=False)
    clear: float | None = Field(default=None, allow_inf_nan=False)
    windows: PositiveInt = 1
    train: bool = False

    @model_validator(mode="after")
    def _known_and_one_bound(self) -> Self:
        _check_known("metric", self.metric, SLICES)
        if self.slice is not None and (slices := SLICES[self.metric]):
            _check_known(f"slice of {self.metric}", self.slice, slices)
        if (self.above is None) == (self.below is None):
            raise ValueError("an alert has one bound: above or below")
        if self.clear is not None and self.bad(self.clear):
            raise ValueError(f"clear = {self.clear:g} is {self.side} {self.bound:g}, where the alert fires")
        return self

    @property
    def bound(self) -> float:
        bound = self.below if self.above is None else self.above
        assert bound is not None
        return bound

    @property
    def side(self) -> Literal["above", "below"]:
        return "below" if self.above is None else "above"

    def bad(self, value: float) -> bool:
        """Whether a value is beyond the bound."""
        return value > self.bound if self.side == "above" else value < self.bound

    def good(self, value: float) -> bool:
        """Whether a value is on the good side of `clear`."""
        clear = self.bound if self.clear is None else self.clear
        return value <= clear if self.side == "above" else value >= clear


def _check_known(what: str, name: str, known: Collection[str]) -> None:
    if name not in known:
        near = get_close_matches(name, known, n=1)
        told = f"did you mean '{near[0]}'?" if near else f"there are {', '.join(known)}"
        raise ValueError(f"there is no {what} '{name}'; {told}")
