"""What is told while long work runs: how far it is, and that it still runs, at most every ten seconds."""

import io
import time

import pytest
from rich.console import Console

from recsys_text.terminal import TuningProgress, WorkProgress
from recsys_text.terminal import progress as shown
from recsys_text.terminal.progress import Pace


class Clock:
    """Seconds that pass when a test says so."""

    now = 0.0

    def __call__(self) -> float:
        return self.now


def test_a_line_is_due_every_ten_seconds_and_tells_how_far_and_how_long_still() -> None:
    clock = Clock()
    pace = Pace(clock)
    assert pace.due() is None
    pace.begin("Features")
    clock.now = 9
    assert pace.due() is None
    clock.now = 10
    assert pace.due() == "  Features: still running, 10 s so far"
    pace.advance(1, 4, "12 pairs/s")
    assert pace.due() is None
    clock.now = 20
    assert pace.due() == "  Features: 25%, 12 pairs/s, 20 s so far, 1 min 0 s left"
    pace.advance(4, 4, "12 pairs/s")
    clock.now = 35
    assert pace.due() == "  Features: all 4 done, the work goes on, 35 s so far"


def test_a_new_stage_begins_anew() -> None:
    clock = Clock()
    pace = Pace(clock)
    pace.begin("Features")
    pace.advance(3, 4)
    clock.now = 8
    pace.begin("Rankers")
    clock.now = 17
    assert pace.due() is None
    clock.now = 18
    assert pace.due() == "  Rankers: still running, 10 s so far"


@pytest.mark.parametrize("kind", [WorkProgress, TuningProgress])
def test_work_that_tells_nothing_itself_is_told_where_nobody_watches(
    kind: type[WorkProgress], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(shown, "_LOOK_S", 0.001)
    out, clock = io.StringIO(), Clock()
    with kind(Console(file=out, width=20), pace=Pace(clock)) as progress:
        progress.stage("Tokenizer: learning from 3 texts")
        clock.now = 11
        while "so far" not in out.getvalue():
            time.sleep(0.001)
        progress.on_step("pretrain", 0.5, 200.0, 3, 9)
        clock.now = 22
        while "pretraining" not in out.getvalue():
            time.sleep(0.001)
    lines = out.getvalue().splitlines()
    assert "  Tokenizer: still running, 11 s so far" in lines
    assert "  Text model, pretraining: 33%, loss 0.5000, 200 samples/s, 11 s so far, 22 s left" in lines


def test_work_without_stages_is_told_by_its_name_once_it_takes_long(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(shown, "_LOOK_S", 0.001)
    out, clock = io.StringIO(), Clock()
    with WorkProgress(Console(file=out, width=20), "Extraction", pace=Pace(clock)):
        assert not out.getvalue()
        clock.now = 10
        while not out.getvalue():
            time.sleep(0.001)
    assert out.getvalue() == "  Extraction: still running, 10 s so far\n"


def test_a_terminal_shows_a_bar_and_no_lines_in_between() -> None:
    out, clock = io.StringIO(), Clock()
    with WorkProgress(Console(file=out, force_terminal=True, width=80), pace=Pace(clock)) as progress:
        progress.stage("Features: 100 pairs")
        progress.advance(50, 100)
        clock.now = 100
    assert "Features" in out.getvalue()
    assert "so far" not in out.getvalue()
