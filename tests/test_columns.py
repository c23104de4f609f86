"""Every table that people see: at 80 columns what identifies a row is whole, and wider nothing is left out."""

import ast
import io
from collections.abc import Callable
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import polars as pl
import pytest
from hypothesis import given
from hypothesis import strategies as st
from rich.cells import cell_len
from rich.console import Console

import recsys_text
from feature_store import VersionInfo
from recsys_text import terminal
from recsys_text.columns import Column, WholeTable
from recsys_text.evaluation.checks.finding import Finding
from recsys_text.evaluation.measure import AS_SERVED, HEADLINE, SCHEMA
from recsys_text.evaluation.table import render
from recsys_text.publications import SCORES, version_name
from recsys_text.sections.watching import SLICES
from recsys_text.sources.guess import Guess, Tables
from recsys_text.sources.sample import Sample
from recsys_text.steps.lake import ListedTable, ListedWindow
from recsys_text.steps.trial import Outcome
from recsys_text.steps.tune import Tuned

AS_OF, LATER = datetime(2017, 8, 29, tzinfo=UTC), datetime(2026, 11, 30, 12, 53, tzinfo=UTC)
VERSION = version_name(AS_OF, "12", "0123456789abcdef")
KEYS = {
    "days": ("2017-06-01", "2017-08-29"),
    "hours": ("2017-06-01T00", "2017-08-29T23"),
    "weeks": ("2017-W01", "2017-W35"),
}
RULES = {"occurred_at|nullability": 1_204, "expires_after_published": 12, "one_label_per_candidate": 3}


@dataclass(frozen=True, kw_only=True)
class Shown:
    """A table: what prints it, values that stay whole on one line each at 80 columns, and those of wider consoles."""

    print: Callable[[Console], None]
    whole: list[list[str]]
    wide: list[str]


def lake(keys: tuple[str, str]) -> Shown:
    first, last = keys
    windows = [
        ListedWindow(window=first, rows=0, rejected=12, left=0),
        ListedWindow(window=last, rows=2_345_678, rejected=1_204, left=312),
    ]
    tables = [
        ListedTable(table=name, windows=windows, bytes=1_234_567_890) for name in ("items", "events", "impressions")
    ]
    whole = [
        ["impressions", first, last, "2,345,678", "1,234.6", "1,216", "312"],
        ["events", first, last, "2,345,678", "1,234.6", "1,216", "312"],
        [f"Empty windows of events: {first}"],
    ]
    return Shown(print=lambda out: terminal.listed(out, tables), whole=whole, wide=["empty"])


def extraction(keys: tuple[str, str]) -> Shown:
    window = {"rows": 12_345_678, "rejected": RULES, "duplicates": 45_678, "conflicts": 0, "left": 0}
    result = {"tables": {name: dict.fromkeys(keys, window) for name in ("items", "events", "impressions")}}
    whole = [["impressions", key, "12,345,678", "45,678"] for key in keys]
    whole += [["impressions", "all 2", "24,691,356", "91,356"], *([f"{rule}"] for rule in RULES)]
    return Shown(print=lambda out: terminal.extracted(out, result, grace=0), whole=whole, wide=[])


def versions() -> Shown:
    def info(problem: str, *, refused: bool) -> VersionInfo:
        return VersionInfo(
            view=SCORES,
            version=VERSION,
            created_at=LATER,
            rows=1_234_567,
            bytes=1,
            sequence=1,
            metadata={"as_of": AS_OF.isoformat(), "model_version": "12"},
            problem=problem,
            refused=refused,
        )

    infos = [info("", refused=False), info("min_ratio", refused=True), info("a checksum", refused=False)]
    whole = [[VERSION, "1,234,567", "2026-11-30 12:53", state] for state in ("yes", "refused", "damaged")]
    return Shown(
        print=lambda out: terminal.versions(out, {SCORES: (infos, VERSION)}),
        whole=whole,
        wide=["as of (UTC)", "2017-08-29 00:00", "model"],
    )


def monitoring() -> Shown:
    slices = SLICES | {"reject_rate": tuple(RULES)}
    named = [(metric, part) for metric, parts in slices.items() for part in parts]
    rows = [
        {"metric": metric, "slice": f"impressions: {part}" if metric == "reject_rate" else part}
        | {"value": 1_740.0 if metric == "users" else 0.5, "low": 0.25, "high": 0.75}
        for metric, part in named
    ]
    result = {"reason": "", "version": VERSION, "window": "2017-08-29T23", "rows": rows, "alerts": []}
    whole = [
        [metric, part, " 1,740 " if metric == "users" else "0.5000", "[0.2500, 0.7500]"]
        for metric, part in named
        if metric != "reject_rate"
    ]
    whole += [[rule] for rule in RULES]
    whole.append([f"{VERSION} against the clicks of 2017-08-29T23"])
    return Shown(print=lambda out: terminal.monitored(out, result), whole=whole, wide=[])


def checks() -> Shown:
    names = ("impressions in several windows", "events in several windows", "features that know the label")
    findings = [
        Finding(name=name, level="warning", count=12_345_678, of=20_000_000, examples=(), line="of them")
        for name in names
    ]
    whole = [[name, "warning", "12,345,678", "61.73%"] for name in names]
    return Shown(print=lambda out: terminal.checked(out, findings), whole=whole, wide=[])


def guesses() -> Shown:
    because = "the only column whose values are times, and whose name people give to the time of publication"
    sample = Sample(name="articles.csv", columns={"article_publication_date": []}, source={})
    names = ("item_id", "published_at", "description")
    guess = Guess(
        table="impressions",
        sample=sample,
        columns=dict.fromkeys(names, "article_publication_date"),
        reasons=dict.fromkeys(names, because),
    )
    tables = Tables(
        items=guess, events=guess, impressions=guess, sections={"training": {"max_clicks": ("1000", because)}}
    )
    whole = [["impressions", name, "article_publication_date"] for name in names]
    whole += [["[training]", "max_clicks", "1000"]]
    return Shown(print=lambda out: terminal.guessed(out, tables, []), whole=whole, wide=[])


def verdict() -> Shown:
    guard = {"what": "gain", "value": -0.1, "low": -0.2, "high": 0.0, "bound": -0.01, "at_least": True, "passed": True}
    parts = ("history_over_20", "category: Lebensmittelversorgung und Haushaltsgegenstände")
    asked = {"version": "12", "champion": "3", "window": "2017-08-29T23", "impressions": 123_456, "users": 12_345}
    measured = {"gain": 0.01, "low": 0.001, "high": 0.02, "gains": True, "min_gain": 0.0}
    told: dict[str, Any] = {
        **asked,
        **measured,
        "promoted": True,
        "at": LATER.isoformat(),
        "guards": [guard | {"part": part, "key": "max_slice_loss"} for part in parts],
    }
    whole = [
        ["gain in nDCG@10", "+0.0100 [+0.0010, +0.0200]", "low end > 0", "pass"],
        ["gain in history_over_20", "-0.1000 [-0.2000, +0.0000]", "high end >= -0.01", "pass"],
    ]
    return Shown(print=lambda out: terminal.explained(out, told), whole=whole, wide=[])


def tuning() -> Shown:
    key = "model.text_regression.min_count"
    present, best = (Outcome(number=at, state="complete", values={key: value}) for at, value in ((0, 0.25), (7, 0.125)))
    result = Tuned(
        path=Path("best.toml"), present=present, best=best, trials=9, impressions=9, windows="one", interrupted=False
    )
    return Shown(print=lambda out: terminal.tuned(out, result), whole=[[key, "0.25", "0.125"]], wide=[])


METHODS = ("score", "interest", "score without interest", "popularity all time", "category popularity", "pop/age")
PARTS = ("all", "new_item", "history_over_20", "category: Lebensmittelversorgung und Haushaltsgegenstände")


def evaluation() -> Shown:
    measured = {"value": 0.5, "low": 0.25, "high": 0.75, "gain": 0.125, "gain_low": 0.1, "gain_high": 0.15}
    size = {"impressions": 123_456, "users": 12_345}
    named = [(method, part) for part in PARTS for method in METHODS[:4] if part != "all"]
    named += [(method, "all") for method in METHODS]
    named += [(method, AS_SERVED) for method in ("score", "score, fresh", "score, 24 h old")]
    rows = [
        {"method": method, "slice": part, "metric": metric} | measured | size
        for method, part in named
        for metric in ("auc", HEADLINE, "recall@50")
    ]
    table = pl.DataFrame(rows, schema=SCHEMA)
    whole = [[method, ".500 [.250, .750]"] for method in (*METHODS, "fresh", "24 h old")]
    whole += [
        [part, "123,456", ".500", "popularity all time", "+.125 [+.100, +.150]"]
        for part in ("new_item", "history_over_20", "category:")
    ]
    return Shown(print=lambda out: out.print(render(table), soft_wrap=True), whole=whole, wide=[" best "])


TABLES = {
    **{f"lake of {name}": lake(keys) for name, keys in KEYS.items()},
    **{f"extraction of {name}": extraction(keys) for name, keys in KEYS.items()},
    "versions": versions(),
    "monitoring": monitoring(),
    "checks": checks(),
    "guesses": guesses(),
    "verdict": verdict(),
    "tuning": tuning(),
    "evaluation": evaluation(),
}


def printed(show: Callable[[Console], None], width: int) -> str:
    show(out := Console(width=width, file=io.StringIO()))
    assert isinstance(out.file, io.StringIO)
    return out.file.getvalue()


def on_one_line(text: str, values: list[str]) -> bool:
    return any(all(value in line for value in values) for line in text.splitlines())


@pytest.mark.parametrize("width", [80, 120, 200])
@pytest.mark.parametrize("name", TABLES)
def test_a_table_keeps_whole_what_identifies_its_rows(name: str, width: int) -> None:
    table = TABLES[name]
    text = printed(table.print, width)
    assert "…" not in text
    for values in table.whole:
        assert on_one_line(text, values), f"{values} is cut or broken:\n{text}"
    assert max(map(cell_len, text.splitlines())) <= width, text
    assert width == 80 or all(value in text for value in table.wide), text


def test_all_tables_are_of_this_kind() -> None:
    root = Path(recsys_text.__file__).parent
    made = {
        file.relative_to(root).as_posix()
        for file in root.rglob("*.py")
        for node in ast.walk(ast.parse(file.read_text()))
        if isinstance(node, ast.ImportFrom) and node.module == "rich.table"
    }
    assert made == {"columns.py"}


CELLS = st.text(st.characters(categories=("L", "N", "P"), include_characters=" "), min_size=1, max_size=30).map(
    lambda text: " ".join(text.split()) or "-"
)


@given(st.data(), st.integers(1, 130))
def test_whatever_is_in_a_table_is_whole_or_folded_or_left_out(data: st.DataObject, width: int) -> None:
    columns = data.draw(st.lists(st.builds(Column, name=CELLS, right=st.booleans(), folds=st.booleans()), min_size=1))
    columns.append(Column(name="spare heading", spare=True))
    rows = data.draw(st.lists(st.lists(CELLS, min_size=len(columns), max_size=len(columns)), min_size=1, max_size=4))
    table = WholeTable("a title of a few words", *columns)
    for row in rows:
        table.add_row(*row)
    text = printed(lambda out: out.print(table, soft_wrap=True), width)
    assert text.splitlines()[0].rstrip() == "a title of a few words"
    for row in [[column.name for column in columns[:-1]], *rows]:
        fixed = [cell for cell, column in zip(row, columns, strict=False) if not column.folds and not column.spare]
        assert on_one_line(text, fixed)
    letters = "".join(text.split())
    assert all(char in letters for row in rows for cell in row[:-1] for char in cell if char != " ")


def test_a_table_gives_way_in_order() -> None:
    folding, spare = Column(name="why", folds=True), Column(name="also", spare=True)
    table = WholeTable("", Column(name="key"), Column(name="rows", right=True), folding, spare)
    table.add_row("2017-08-29", "7", "as it was", "told below")

    def shown(width: int) -> list[str]:
        text = printed(lambda out: out.print(table, soft_wrap=True), width)
        return [line.rstrip() for line in text.splitlines()[2:]]

    assert shown(40) == ["2017-08-29     7  as it was  told below"]
    assert shown(36) == ["2017-08-29     7  as it   told below", "                  was"]
    assert shown(30) == ["2017-08-29    7 as  told below", "                it", "                was"]
    assert shown(24) == ["2017-08-29     7  as it", "                  was"]
    assert shown(5) == ["2017-08-29    7 as", "                it", "                was"], "whole, though too wide"
