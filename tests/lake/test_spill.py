"""Spilling frames to disk and reading them back in the order of time."""

from datetime import UTC, datetime, timedelta
from itertools import count, pairwise
from pathlib import Path
from tempfile import TemporaryDirectory

import polars as pl
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from recsys_text.lake import spill
from recsys_text.lake.spill import Spill, in_order

START = datetime(2024, 3, 1, tzinfo=UTC)


def frames_of(seconds: list[int], size: int) -> list[pl.DataFrame]:
    frame = pl.DataFrame({"at": [START + timedelta(seconds=second) for second in seconds], "row": range(len(seconds))})
    return [part.with_columns(pl.col("at").cast(pl.Datetime("us", "UTC"))) for part in frame.iter_slices(size)]


@settings(max_examples=50, deadline=None)
@given(st.lists(st.integers(0, 86_399), max_size=80), st.integers(1, 30))
def test_pieces_are_bounded_in_order_and_lose_nothing(seconds: list[int], size: int) -> None:
    with TemporaryDirectory() as name, pytest.MonkeyPatch.context() as patch:
        patch.setattr(spill, "MAX_ROWS", 10)
        patch.setattr(spill, "_FLUSH_BYTES", 100)
        numbers = count()
        pieces = [
            piece["at", "row"]
            for piece in in_order(
                frames_of(seconds, size),
                "at",
                START,
                START + timedelta(days=1),
                lambda: Path(name) / str(next(numbers)),
            )
        ]
    rows = pl.concat(pieces)["row"].to_list() if pieces else []
    assert sorted(rows) == list(range(len(seconds)))
    for former, latter in pairwise(pieces):
        assert former["at"].max() < latter["at"].min()  # type: ignore[operator]
    busiest = max((seconds.count(second) for second in seconds), default=0)
    assert all(piece.height <= max(10, busiest) for piece in pieces)


def test_the_cuts_do_not_depend_on_the_order_of_the_rows(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(spill, "MAX_ROWS", 10)
    numbers = count()

    def lengths(seconds: list[int], size: int) -> list[int]:
        pieces = in_order(
            frames_of(seconds, size), "at", START, START + timedelta(days=1), lambda: tmp_path / str(next(numbers))
        )
        return [piece.height for piece in pieces]

    seconds = [number * number % 86_400 for number in range(400)]
    assert lengths(seconds, 30) == lengths(seconds[::-1], 7)
    assert sum(lengths(seconds, 30)) == 400


def test_streams_come_back_as_often_as_asked(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(spill, "_FLUSH_BYTES", 20)
    kept = Spill(tmp_path / "spill")
    for number in range(5):
        kept.add("odd" if number % 2 else "even", pl.DataFrame({"n": [number]}))
    assert kept.rows == {"even": 3, "odd": 2}
    assert 0 < len(list((tmp_path / "spill").iterdir())) < 5  # some on disk, the last in memory
    for _ in range(2):
        assert pl.concat(kept.frames("even"))["n"].to_list() == [0, 2, 4]
    kept.discard("even")
    assert list(kept.frames("even")) == []
    assert pl.concat(kept.frames("odd"))["n"].to_list() == [1, 3]
