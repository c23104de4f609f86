"""A stored verdict in words: what was asked, measured and needed, also of what was never scored."""

import numpy as np
import pytest
from rich.console import Console

from recsys_text.evaluation.explained import markdown, questions
from recsys_text.evaluation.gate import decide
from recsys_text.evaluation.guards import Guard, slowdown
from recsys_text.sections import Gate
from recsys_text.terminal import explained

ABOUT = {"version": "4", "champion": "3", "window": "2024-05-05", "impressions": 1812, "users": 240}
AT = {"at": "2024-05-06T01:02:03+00:00"}


def verdict_of(gain, *guards):
    random = np.random.default_rng(1)
    champion = random.random(240)
    better = champion + random.normal(gain, 0.1, 240)
    verdict = decide(better, champion, np.arange(240), min_gain=0.0, seed=0, guards=guards)
    return {"promoted": verdict.promote, "reason": verdict.line} | ABOUT | AT | verdict.to_json()


def guard(part, high):
    return Guard(
        key="max_slice_loss",
        what="gain",
        part=part,
        value=high - 0.1,
        low=high - 0.2,
        high=high,
        bound=-0.01,
        at_least=True,
    )


REFUSED = verdict_of(
    0.05,
    Guard(
        key="max_calibration_error", what="calibration error", value=0.3, low=0.2, high=0.4, bound=0.1, at_least=False
    ),
    guard("new_item", -0.03),
    guard("category: [red]Films | and the long names of categories", 0.04),
    slowdown(1.5, 1.0, Gate()),
)


def test_each_question_says_what_had_to_be():
    gain, calibration, new, category, speed = questions(REFUSED)
    assert (gain.needed, gain.passed) == ("low end > 0", True)
    assert gain.measured.startswith("+0.0")
    assert (calibration.measured, calibration.needed) == ("0.3000 [0.2000, 0.4000]", "low end <= 0.1")
    assert calibration.remedy == (
        "calibration error needed a low end <= 0.1 to pass (gate.max_calibration_error); it was 0.1000 short."
    )
    assert (new.asked, new.needed, new.passed) == ("gain in new_item", "high end >= -0.01", False)
    assert new.remedy.endswith("(gate.max_slice_loss); it was 0.0200 short.")
    assert category.passed
    assert (speed.measured, speed.needed, speed.passed) == ("1.5000", "value <= 3", True)


def test_a_gain_that_nothing_tells():
    verdict = decide(np.zeros(0), np.zeros(0), np.zeros(0, int), min_gain=0.0, seed=0).to_json()
    (gain,) = questions(verdict)
    assert (gain.measured, gain.passed) == ("unknown", False)
    assert gain.remedy.endswith("there was too little to tell.")


def test_a_page_of_it():
    page = markdown(REFUSED)
    assert page.startswith("# Version 4 against champion 3: 1,812 impressions of 240 users, 2024-05-05\n")
    assert "| gain in new_item | -0.1300 [-0.2300, -0.0300] | high end >= -0.01 | **FAIL** |" in page
    assert "| gain in category: [red]Films \\| and" in page
    assert "- calibration error needed" in page
    assert page.count("FAIL") == 2


@pytest.mark.parametrize("width", [80, 160])
def test_a_table_of_so_many_columns(width):
    out = Console(width=width)
    with out.capture() as told:
        explained(out, REFUSED)
    lines = told.get().splitlines()
    assert max(map(len, lines)) <= width
    assert lines[0] == "Version 4 against champion 3: 1,812 impressions of 240 users, 2024-05-05"
    (row,) = (line for line in lines if line.startswith("gain in new_item  "))
    assert " ".join(row.split()) == "gain in new_item -0.1300 [-0.2300, -0.0300] high end >= -0.01 FAIL"
    assert "[red]Films" in told.get(), "a name is no markup"
    assert "champion 3 stays" in " ".join(lines)


def test_what_was_never_scored():
    verdict = {"promoted": True, "version": "1", "champion": None, "reason": "there was no champion"} | AT
    assert questions(verdict) == []
    said = "Promoted 2024-05-06 01:02 UTC: version 1 is champion: there was no champion"
    assert said in markdown(verdict)
    with (out := Console(width=80)).capture() as told:
        explained(out, verdict)
    assert told.get() == said + "\n"


def test_a_verdict_that_promotes():
    promoted = verdict_of(0.05)
    assert promoted["promoted"]
    page = markdown(promoted)
    assert "Promoted 2024-05-06 01:02 UTC: version 4 is champion\n" in page
    assert "FAIL" not in page
