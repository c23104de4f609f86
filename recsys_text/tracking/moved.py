"""Artifacts under a project's root that was moved: MLflow keeps their places as absolute addresses. Knows no run."""

import sqlite3
from contextlib import closing
from pathlib import Path
from urllib.parse import unquote, urlsplit

#: The folder of the artifacts under a project's root.
ARTIFACTS = "mlartifacts"
#: Where MLflow's SQLite file keeps addresses of artifacts.
_KEPT = (
    ("experiments", "artifact_location"),
    ("runs", "artifact_uri"),
    ("logged_models", "artifact_location"),
    ("model_versions", "storage_location"),
    ("model_versions", "source"),
)


def follow_root(database: Path, location: str, root: Path) -> bool:
    """Lets the addresses in a SQLite file follow the root of the project; whether they had to.

    location: where the experiment has its artifacts. It is left as it is unless it is ARTIFACTS under another root and
    that root was moved or copied: the file itself lies under the present root, or the folder isn't there any more. So
    nothing is written to, or made anew at, a place that the project has left.
    """
    kept, present = _folder(location), (root / ARTIFACTS).absolute()
    if kept is None or kept.name != ARTIFACTS or kept == present or _same(kept, present):
        return False
    if database.absolute().parent != root.absolute() and kept.exists():
        return False
    former = location.rstrip("/")
    with closing(sqlite3.connect(database)) as file, file:
        for table, column in _KEPT:
            file.execute(
                f"update {table} set {column} = ? || substr({column}, ?) "  # noqa: S608 - names of our own
                f"where {column} = ? or substr({column}, 1, ?) = ?",
                (present.as_uri(), len(former) + 1, former, len(former) + 1, f"{former}/"),
            )
    return True


def _folder(location: str) -> Path | None:
    """The folder of this machine that an address names; None for any other."""
    parts = urlsplit(location)
    return Path(unquote(parts.path)) if parts.scheme == "file" else None


def _same(one: Path, other: Path) -> bool:
    return one.exists() and other.exists() and one.samefile(other)
