"""What `init --from` found, and the questions that it asks on a terminal. Knows no reader."""

from collections.abc import Sequence
from dataclasses import replace
from typing import TYPE_CHECKING, Any

import typer
from rich.console import Console

from recsys_text.columns import Column, WholeTable
from recsys_text.event_types import EVENT_TYPES

if TYPE_CHECKING:
    from recsys_text.sources.guess import Guess, Tables
    from recsys_text.sources.sample import Sample

#: The columns that are worth a question: without them, or with a wrong one, nothing else is right.
_ASKED = {
    "items": ("item_id", "title"),
    "events": ("user_id", "item_id", "occurred_at"),
    "impressions": ("impression_id", "user_id", "shown_at", "candidates", "clicked"),
}


def guessed(out: Console, tables: "Tables", found: "Sequence[Sample]") -> None:
    """A row for each column and key that was found, with the reason; then which tables are meant, and which are not."""
    table = WholeTable(
        "Found",
        Column(name="table"),
        Column(name="is"),
        Column(name="from", folds=True),
        Column(name="because", folds=True),
    )
    for guess in _present(tables):
        rows: list[tuple[str, Any]] = [*guess.columns.items(), *guess.keys.items()]
        if guess.values:
            rows.append(("values", guess.values))
        for name, value in rows:
            table.add_row(guess.table, name, _shown(value), guess.reasons.get(name, ""))
    for section, keys in tables.sections.items():
        for key, (value, reason) in keys.items():
            table.add_row(f"[{section}]", key, value, reason)
    out.print(table, soft_wrap=True)
    for guess in _present(tables):
        out.print(f"{guess.table}: {guess.sample.name}", soft_wrap=True, markup=False, highlight=False)
    used = [guess.sample for guess in _present(tables)]
    if others := [sample.name for sample in found if not any(sample is each for each in used)]:
        out.print(f"not used: {', '.join(others)}", soft_wrap=True, markup=False, highlight=False)


def confirmed(out: Console, tables: "Tables") -> "Tables":
    """The tables with what the user answers; Enter takes what was guessed."""
    out.print("Enter takes what stands in brackets.", markup=False)
    return replace(
        tables,
        items=_confirmed(tables.items),
        events=_confirmed(tables.events),
        impressions=None if tables.impressions is None else _confirmed(tables.impressions),
    )


def _confirmed(guess: "Guess") -> "Guess":
    columns, keys = dict(guess.columns), dict(guess.keys)
    for name in _ASKED[guess.table]:
        columns[name] = _choice(f"{guess.sample.name}: which column is {name}?", columns[name], [*guess.sample.columns])
    if "time_zone" in keys:
        keys["time_zone"] = typer.prompt(f"{guess.sample.name}: the zone of its times?", keys["time_zone"])
    if "event_type" in guess.columns:
        default = keys.get("positive", [name for name in EVENT_TYPES if name in _types(guess) and name != "view"])
        answer = typer.prompt(f"{guess.sample.name}: which types mean that a user wanted it?", ", ".join(default))
        chosen = [name.strip() for name in answer.split(",")]
        if chosen != default and set(chosen) <= set(EVENT_TYPES):
            keys["positive"] = chosen
    return replace(guess, columns=columns, keys=keys)


def _choice(question: str, default: str, choices: Sequence[str]) -> str:
    while True:
        answer: str = typer.prompt(question, default)
        if answer in choices:
            return answer
        typer.echo(f"there is no column '{answer}'; there are {', '.join(choices)}")


def _types(guess: "Guess") -> set[str]:
    renamed: dict[str, str] = guess.keys.get("event_types", {})
    return {renamed.get(str(value), str(value)) for value in guess.sample.columns[guess.columns["event_type"]]}


def _present(tables: "Tables") -> list["Guess"]:
    return [guess for guess in (tables.items, tables.events, tables.impressions) if guess is not None]


def _shown(value: Any) -> str:
    if isinstance(value, dict):
        return ", ".join(f"{name} -> {item}" for name, item in value.items())
    return ", ".join(value) if isinstance(value, list) else str(value)
