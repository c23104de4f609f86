"""A stored verdict of the gate in words, for a terminal and for MLflow's page. Knows no model.

A verdict is what `steps.gate` keeps as JSON: `Verdict.to_json`, and of whom, on what and when it was.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

Told = Mapping[str, Any]


@dataclass(frozen=True, kw_only=True)
class Question:
    """What the gate asked, what it measured, what had to be, and how far from that it was; `key` is of [gate]."""

    asked: str
    measured: str
    needed: str
    key: str
    passed: bool
    short_by: float | None

    @property
    def remedy(self) -> str:
        """What would have had to be, of a question that was not passed."""
        short = "there was too little to tell" if self.short_by is None else f"it was {self.short_by:.4f} short"
        return f"{self.asked} needed a {self.needed} to pass (gate.{self.key}); {short}."


def questions(verdict: Told) -> list[Question]:
    """The gain first, then the guards; empty where nothing was scored."""
    if "guards" not in verdict:
        return []
    low, bound = verdict["low"], verdict["min_gain"]
    gain = Question(
        asked="gain in nDCG@10",
        measured=_drawn(verdict, "gain", sign="+"),
        needed=f"low end > {bound:g}",
        key="min_gain",
        passed=verdict["gains"],
        short_by=None if low is None else bound - low,
    )
    return [gain, *map(_question, verdict["guards"])]


def headline(verdict: Told) -> str:
    """Who was asked, against whom, and on what."""
    if "baseline" in verdict:
        return (
            f"Version {verdict['version']}, the first, against the best baseline, {verdict['baseline']}: "
            f"{verdict['impressions']:,} impressions of {verdict['users']:,} users, {verdict['window']}"
        )
    if "guards" not in verdict:
        return f"Version {verdict['version']}: nothing was scored"
    return (
        f"Version {verdict['version']} against champion {verdict['champion']}: {verdict['impressions']:,} impressions "
        f"of {verdict['users']:,} users, {verdict['window']}"
    )


def outcome(verdict: Told) -> str:
    """What followed, and when."""
    when = f"{verdict['at'][:16].replace('T', ' ')} UTC"
    why = "" if "guards" in verdict else f": {verdict['reason']}"
    if verdict["promoted"]:
        return f"Promoted {when}: version {verdict['version']} is champion{why}"
    stays = f"champion {verdict['champion']} stays" if verdict["champion"] else f"there is no champion{why}"
    return f"Refused {when}: {stays}, and version {verdict['version']} stays registered"


def markdown(verdict: Told) -> str:
    """The whole verdict as a page."""
    lines = [f"# {headline(verdict)}", "", outcome(verdict), ""]
    if asked := questions(verdict):
        lines += ["| asked | measured | had to be | |", "|---|---|---|---|"]
        lines += [
            f"| {_cell(one.asked)} | {one.measured} | {one.needed} | {'pass' if one.passed else '**FAIL**'} |"
            for one in asked
        ]
        lines += ["", *(f"- {one.remedy}" for one in asked if not one.passed)]
        lines += ["", _INTERVALS, ""]
    return "\n".join(lines)


_INTERVALS = (
    "The gain has a 95% interval over users. A guard refuses where its whole interval lies beyond its bound; these are "
    "wider, so that all guards together refuse one challenger in twenty at most for nothing."
)


def _question(guard: Told) -> Question:
    at_least, bound = guard["at_least"], guard["bound"]
    end = guard["high" if at_least else "low"]
    name = "value " if guard["low"] == guard["high"] else "high end " if at_least else "low end "
    return Question(
        asked=f"{guard['what']} in {guard['part']}" if guard["part"] else guard["what"],
        measured=_drawn(guard, "value", sign="+" if guard["part"] else ""),
        needed=f"{name}{'>=' if at_least else '<='} {bound:g}",
        key=guard["key"],
        passed=guard["passed"],
        short_by=None if end is None else abs(end - bound),
    )


def _drawn(told: Told, value: str, sign: str) -> str:
    if told["low"] is None:
        return "unknown" if told[value] is None else f"{told[value]:{sign}.4f}"
    if told["low"] == told["high"]:
        return f"{told[value]:{sign}.4f}"
    return f"{told[value]:{sign}.4f} [{told['low']:{sign}.4f}, {told['high']:{sign}.4f}]"


def _cell(text: str) -> str:
    """A category may be of any letters."""
    return text.replace("|", "\\|").replace("\n", " ")
