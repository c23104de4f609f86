"""Reads the logs of Airflow's tasks: a JSON object on each line. Knows no task."""

import json
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path
from typing import Any

#: Who speaks to a reader there: the steps by their logger, and what they print.
_STEPS = "recsys_text"
_SPEAKERS = (_STEPS, "task.stdout")
_SHOWN = 12


def size(path: Path) -> int:
    """How far a log has grown; 0 where there is none yet."""
    with suppress(OSError):
        return path.stat().st_size
    return 0


def said(path: Path) -> str:
    """The last thing that a task told its readers; empty where it said nothing."""
    return next(reversed([*_of(path, *_SPEAKERS)]), "")


def told(path: Path) -> list[str]:
    """What a task told of what it did, line by line."""
    return list(_of(path, _STEPS))


def reason(path: Path) -> str:
    """Why a task was skipped; empty where one before it was."""
    return next((str(entry.get("reason", "")) for entry in _entries(path) if entry["event"] == "Skipping task."), "")


def end(path: Path) -> str:
    """The last messages of a log, and the exceptions in it."""
    lines = []
    for entry in _entries(path):
        lines.append(f"  {entry.get('event', '')}")
        lines += [f"  {fault['exc_type']}: {fault['exc_value']}" for fault in entry.get("error_detail") or []]
    return "\n".join(lines[-_SHOWN:]) or f"  (no log at {path})"


def _of(path: Path, *loggers: str) -> Iterator[str]:
    for entry in _entries(path):
        if str(entry.get("logger", "")).startswith(loggers) and (text := str(entry["event"]).strip()):
            yield text


def _entries(path: Path) -> Iterator[dict[str, Any]]:
    with suppress(OSError), path.open(errors="replace") as log:
        for line in log:
            try:
                entry = json.loads(line)
            except ValueError:
                entry = {"event": line.rstrip()}
            if isinstance(entry, dict) and "event" in entry:
                yield entry
