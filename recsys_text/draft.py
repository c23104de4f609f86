"""Write a configuration for tables that were found, with the reasons of each guess as comments. Touches no file."""

import os
import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from recsys_text.environment import unwritable
from recsys_text.errors import ConfigError
from recsys_text.sources.boundary import describe_path
from recsys_text.sources.guess import Guess, Tables
from recsys_text.tables import TABLES
from recsys_text.toml import dumps

_ADVICE = """\
# Guessed from the first rows of your tables, with the reasons; change what is wrong. Every other key has a default:
# `recsys-text init OTHER_FOLDER` writes a file that shows them all.
"""


def draft(tables: Tables, folder: Path) -> str:
    """The text of a recsys.toml in `folder` for the tables; paths under it, or beside it, are relative to it.

    Raises ConfigError for an address that a config cannot hold as it is.
    """
    parts = [_ADVICE, f"[project]\n{_line('name', _project(folder))}\n"]
    guesses = (tables.items, tables.events, tables.impressions)
    parts += [_source(guess, folder) for guess in guesses if guess is not None]
    for section, keys in tables.sections.items():
        lines = [_line(key, value, reason) for key, (value, reason) in keys.items()]
        parts.append("\n".join([f"[{section}]", *lines]) + "\n")
    return "\n".join(parts)


def _source(guess: Guess, folder: Path) -> str:
    address = {key: _relative(key, value, folder) for key, value in guess.sample.source.items()}
    for key, value in address.items():
        if reason := unwritable(value):
            way = ", or give --from a glob with ? in place of its $" if key == "path" else ""
            raise ConfigError(f"the {key} of {guess.table}, {describe_path(value)}: {reason}; rename it{way}")
    lines = [f"[sources.{guess.table}]", *(_line(key, value) for key, value in address.items())]
    for key, value in guess.keys.items():
        lines.append(_line(key, value, guess.reasons.get(key)))
    if guess.values:
        lines.append(_line("values", guess.values, guess.reasons.get("values")))
    own_names = [name for name, column in guess.columns.items() if name == column]
    if own_names:
        told = [f"{name} ({guess.reasons[name]})" if name in guess.reasons else name for name in own_names]
        lines.append(f"# read by their own names: {', '.join(told)}")
    contract = TABLES[guess.table].column_names()
    unused = [name for name in guess.sample.columns if name not in guess.columns.values() and name not in contract]
    if unused:
        lines.append(f"# not read: {', '.join(map(_shown, unused))}")
    renamed = {name: column for name, column in guess.columns.items() if name != column}
    if renamed:
        lines.append(f"\n[sources.{guess.table}.columns]")
        lines += [_line(name, column, guess.reasons.get(name)) for name, column in renamed.items()]
    return "\n".join(lines) + "\n"


def _line(key: str, value: Any, reason: str | None = None) -> str:
    text = dumps({key: list(value) if isinstance(value, tuple) else value}).strip()
    if isinstance(value, Mapping):
        # An inline table keeps a source's keys under its own header.
        inner = ", ".join(dumps({name: item}).strip() for name, item in value.items())
        text = f"{key} = {{ {inner} }}"
    return text if reason is None else f"{text}{' ' * max(2, 32 - len(text))}# {_shown(reason)}"


def _shown(text: str) -> str:
    """The text without what would end a comment's line."""
    return "".join(character if character.isprintable() else " " for character in text)


def _relative(key: str, value: str, folder: Path) -> str:
    path = Path(value)
    if key == "path" and path.is_absolute():
        return os.path.relpath(path, folder)
    database, mark, file = value.partition(":///")
    if key == "uri" and mark and Path(file).is_absolute():
        return f"{database}:///{os.path.relpath(file, folder)}"
    return value


def _project(folder: Path) -> str:
    name = re.sub(r"[^a-z0-9_-]+", "-", folder.absolute().name.lower()).strip("-_")
    return name or "shop"
