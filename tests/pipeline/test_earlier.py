"""Which windows a scheduled extract goes on to, and which somebody must ask for."""

from datetime import timedelta
from pathlib import Path

import pytest

from recsys_text.config import Settings, load
from recsys_text.lake.windows import DAY, parse_window, window_of
from recsys_text.steps.extract import earlier, extract
from tests.conftest import START, write_small_project


def project(folder: Path, late: int, length: str = "1d") -> Settings:
    """A project whose lake has one window, that of START."""
    config = write_small_project(folder)
    config.write_text(config.read_text() + f'[windows]\nlength = "{length}"\nlate = {late}\n')
    settings = load(config)
    extract(settings, [window_of(START, settings.windows.span)])
    return settings


def found(settings: Settings, days: float, *, gap: bool = True) -> tuple[list[str], list[str]]:
    window = window_of(START + timedelta(days=days), settings.windows.span)
    again, asked = earlier(settings, window, gap=gap)
    return [each.key for each in again], [each.key for each in asked]


@pytest.mark.parametrize(
    ("late", "days", "again"),
    [
        (0, 1, []),
        (2, 1, ["2024-05-01", "2024-04-30"]),
        (0, 3, ["2024-05-03", "2024-05-02"]),
        (1, 3, ["2024-05-03", "2024-05-02"]),
        (3, 3, ["2024-05-03", "2024-05-02", "2024-05-01"]),
        (1, 8, [f"2024-05-0{day}" for day in range(8, 1, -1)]),
    ],
)
def test_late_and_missing_windows_the_newest_first(tmp_path: Path, late: int, days: int, again: list[str]) -> None:
    assert found(project(tmp_path, late), days) == (again, [])


def test_a_run_after_a_longer_standstill_leaves_history_to_who_asks_for_it(tmp_path: Path) -> None:
    settings = project(tmp_path, late=2)
    assert found(settings, 9) == (["2024-05-09", "2024-05-08"], [f"2024-05-0{day}" for day in range(2, 8)])
    assert found(settings, 9, gap=False) == (["2024-05-09", "2024-05-08"], [])


def test_what_is_late_need_not_be_asked_for(tmp_path: Path) -> None:
    assert found(project(tmp_path, late=20), 9)[1] == []


def test_an_hour_is_a_window_too(tmp_path: Path) -> None:
    settings = project(tmp_path, late=1, length="1h")
    assert found(settings, 1 / 8) == (["2024-05-01T02", "2024-05-01T01"], [])
    again, asked = found(settings, 7 + 1 / 24)
    assert (len(again), asked) == (7 * 24, [])
    again, asked = found(settings, 7 + 2 / 24)
    assert (len(again), len(asked)) == (1, 7 * 24)


def test_an_empty_lake_misses_nothing(tmp_path: Path) -> None:
    settings = load(write_small_project(tmp_path))
    assert found(settings, 5) == (["2024-05-05"], [])


def test_newer_windows_do_not_count(tmp_path: Path) -> None:
    """As where an old run is cleared."""
    settings = project(tmp_path, late=0)
    extract(settings, [parse_window("2024-05-06", DAY)])
    assert found(settings, 3) == (["2024-05-03", "2024-05-02"], [])
