"""The address of a SQLite file as SQLAlchemy reads it, whatever letters its path has. Opens nothing."""

import re
from pathlib import Path
from urllib.parse import quote, unquote

#: What has a meaning in an address.
_ESCAPED = {ord(letter): quote(letter) for letter in "%?#"}


def sqlite_url(path: Path) -> str:
    """The address of the file, in which %, ? and # are escaped.

    Where something is, the driver is named too: MLflow makes the folders of what follows a plain `sqlite:///`.
    """
    plain = str(path)
    escaped = plain.translate(_ESCAPED)
    return f"sqlite:///{plain}" if escaped == plain else f"sqlite+pysqlite:///{escaped}"


def sqlite_file(url: str) -> Path | None:
    """The file that an address names; None where that is another database, or one in memory."""
    found = re.fullmatch(r"sqlite(?:\+\w+)?:///([^?]+)(?:\?.*)?", url)
    return None if found is None or found[1] == ":memory:" else Path(unquote(found[1]))
