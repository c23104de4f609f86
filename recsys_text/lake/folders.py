"""Which folders of a table hold its windows, and what their manifests say. Reads no rows.

_project.json                  the project that the lake belongs to
<table>/window=<key>/          a window that has ended
<table>/shared/                parts that several windows have in common, named by their content
<table>/open=<key>@<until>/    one that has not, as it was known at `until`; the newest few are kept, so that who
                               scores from one finds it while the next is written, and none once the window has ended
"""

import json
import shutil
from collections.abc import Iterable
from pathlib import Path
from typing import Any

from recsys_text.errors import ConfigError, ContractError
from recsys_text.lake.windows import is_open_key, window_key
from recsys_text.tables import READABLE_VERSIONS, SCHEMA_VERSION

OWNER = "_project.json"
MANIFEST = "_manifest.json"
SHARED = "shared"
REJECTED = "rejected"
#: How the name of a shared part begins: it is the path from the folder of a window.
SHARED_PART = f"../{SHARED}/"
#: What a manifest calls its lists of parts: rows, rejected rows, and rows of the source that belong to no window.
PARTS = ("parts", "rejected_parts", "timeless_parts")
_WINDOW, _OPEN = "window=", "open="
#: How many states of a window that has not ended are kept.
_KEPT = 3
#: The `window` of a row by the path of its part.
WINDOW_OF_PATH = rf"(?:{_WINDOW}|{_OPEN})([^/]+)/[^/]+$"


def owned_by(project: str) -> bytes:
    return json.dumps({"project": project}).encode()


def check_owner(root: Path, project: str) -> str | None:
    """The project that a lake belongs to, which is this one, or None. Raises ConfigError where it is another."""
    path = root / OWNER
    try:
        owner = str(json.loads(path.read_bytes())["project"])
    except (FileNotFoundError, NotADirectoryError):
        return None
    except (ValueError, TypeError, KeyError):
        raise ConfigError(f"{path} is damaged; write {owned_by(project).decode()} into it") from None
    if owner != project:
        raise ConfigError(
            f"the lake at {root} belongs to project '{owner}', not to '{project}'; give '{project}' a project.root of "
            f"its own, or write its new name into {path} where it was renamed"
        )
    return owner


def folder_of(table: Path, key: str) -> Path:
    return table / f"{_OPEN if is_open_key(key) else _WINDOW}{key}"


def closed_keys(table: Path) -> list[str]:
    """The windows that have ended and exist, oldest first."""
    return _keys(table, _WINDOW)


def open_keys(table: Path) -> list[str]:
    """The states of windows that have not ended, oldest first."""
    return _keys(table, _OPEN)


def read_manifest(table: Path, key: str) -> dict[str, Any]:
    """Raises ConfigError for a window that is not there, ContractError for one that is damaged or of another schema."""
    path = folder_of(table, key) / MANIFEST
    try:
        manifest: dict[str, Any] = json.loads(path.read_bytes())
        found = int(manifest["schema_version"])
    except FileNotFoundError:
        if is_open_key(key):
            raise ContractError(f"the lake knows more by now than {table.name} {key}; run the step again") from None
        raise ConfigError(f"the lake has no window {key} of {table.name}; extract it first") from None
    except (ValueError, TypeError, KeyError):
        raise ContractError(f"{path} is damaged; {again(table.name, key)}") from None
    if found not in READABLE_VERSIONS:
        way_out = "install that one, or " if found > SCHEMA_VERSION else ""
        raise ContractError(
            f"window {key} of {table.name} has schema version {found}, by recsys-text {manifest.get('code_version')}; "
            f"this one reads {SCHEMA_VERSION}: {way_out}{again(table.name, key)}"
        )
    return manifest


def is_shared(name: str) -> bool:
    """Whether a part of this name lies beside the windows that name it, and not in one of them."""
    return name.startswith(SHARED_PART)


def part_path(folder: Path, name: str) -> Path:
    """The path of a part by its name in the manifest of `folder`."""
    return folder.parent / name.removeprefix("../") if is_shared(name) else folder / name


def content(manifest: dict[str, Any]) -> list[str]:
    """Checksums that are the same where the rows of two windows are."""
    return manifest.get("content") or [part["sha256"] for part in manifest["parts"]]


def former(table: Path, key: str) -> dict[str, Any] | None:
    """The manifest of what a window of this key would replace; None where there is none, or nobody can tell."""
    known = [each for each in open_keys(table) if window_key(each) == window_key(key)] if is_open_key(key) else [key]
    try:
        return read_manifest(table, known[-1]) if known else None
    except (ConfigError, ContractError):
        return None


def remove_superseded(table: Path, keys: Iterable[str]) -> None:
    """Once windows are there: removes the open states that they take the place of."""
    states = sorted(path.name.removeprefix(_OPEN) for path in table.glob(f"{_OPEN}*"))
    for key in keys if states else ():
        same = [each for each in open_keys(table) if window_key(each) == window_key(key)]
        kept = {key, *same[-_KEPT:]} if is_open_key(key) else set()
        for state in states:
            if window_key(state) <= window_key(key) and state not in kept:
                remove(table, state)


def remove_unnamed(table: Path) -> None:
    """Removes shared parts that no manifest names; none where a manifest cannot be read, which may name any."""
    shared = [*(table / SHARED).glob("*.parquet"), *(table / SHARED / REJECTED).glob("*.parquet")]
    if not shared:
        return
    named: set[Path] = set()
    for path in [*table.glob(f"{_WINDOW}*/{MANIFEST}"), *table.glob(f"{_OPEN}*/{MANIFEST}")]:
        try:
            manifest = json.loads(path.read_bytes())
            for part in (part for parts in PARTS for part in manifest.get(parts, ())):
                named.add(part_path(path.parent, part["name"]))
        except (ValueError, TypeError, KeyError, AttributeError):
            return
    for path in set(shared) - named:
        path.unlink(missing_ok=True)


def remove(table: Path, key: str) -> None:
    folder = folder_of(table, key)
    (folder / MANIFEST).unlink(missing_ok=True)  # first, so that it is never half there
    shutil.rmtree(folder, ignore_errors=True)


def _keys(table: Path, prefix: str) -> list[str]:
    return sorted(path.parent.name.removeprefix(prefix) for path in table.glob(f"{prefix}*/{MANIFEST}"))


def again(table: str, key: str) -> str:
    """What makes up for a window that cannot be read."""
    if is_open_key(key):
        return "read it again: recsys-text refresh"
    step = "monitor" if table == "quality" else "extract"
    return f"{step} window {key} of {table} again: recsys-text {step} --window {key}"
