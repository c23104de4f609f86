"""One query's text and its placeholders. Knows no database.

Strings, names, comments and casts are told from placeholders in the dialects of PostgreSQL, MySQL, SQLite and DuckDB.
"""

import re
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from recsys_text.errors import ConfigError

# Everything in which a colon or a semicolon is only text (strings, names, comments, casts), then what is looked for.
_TOKENS = re.compile(
    r"""[eE]'(?:[^'\\]|\\.|'')*' | '(?:[^']|'')*' | "(?:[^"]|"")*" | `[^`]*`
    | (?P<comment>--[^\n]* | /\*.*?\*/) | \$(?P<tag>\w*)\$.*?\$(?P=tag)\$ | ::
    | (?<![\w:]):(?P<name>start|end)\b | (?P<stop>;)""",
    re.VERBOSE | re.DOTALL,
)


@dataclass(frozen=True, kw_only=True)
class Bounds:
    """What is bound to `:start` and `:end`, in one of the kinds of values that times are stored as.

    exact: whether they hold no more than the span, if the column is of their kind.
    """

    start: Any
    end: Any
    exact: bool = True


@dataclass(frozen=True, kw_only=True)
class Query:
    """One statement that gives rows, without the semicolon at its end."""

    text: str

    @property
    def names(self) -> list[str]:
        """The placeholders in the order in which they first stand in the text."""
        return list(dict.fromkeys(self.every_name))

    @property
    def every_name(self) -> list[str]:
        """The placeholders as often as they stand in the text."""
        return [match["name"] for match in _TOKENS.finditer(self.text) if match["name"]]

    def numbered(self, sign: str) -> str:
        """The text with `:start` and `:end` as numbered placeholders, such as `$1`."""
        names = self.names
        return self.replaced(lambda name: f"{sign}{names.index(name) + 1}")

    def replaced(self, placeholder: Callable[[str], str], other: Callable[[str], str] = str) -> str:
        """The text with what `placeholder` makes of each placeholder's name, and `other` of what stands between."""
        parts, end = [], 0
        for match in _TOKENS.finditer(self.text):
            if match["name"]:
                parts += [other(self.text[end : match.start()]), placeholder(match["name"])]
                end = match.end()
        return "".join([*parts, other(self.text[end:])])

    def values(self, bounds: Bounds) -> list[Any]:
        """What the numbered placeholders stand for."""
        return [getattr(bounds, name) for name in self.names]


def one_query(text: str) -> Query:
    """Reads a config's query. Raises ConfigError for more than one statement."""
    stops = [match for match in _TOKENS.finditer(text) if match["stop"]]
    if not stops:
        return Query(text=text.strip())
    rest = text[stops[0].end() :]
    if _TOKENS.sub(lambda match: "" if match["comment"] or match["stop"] else match[0], rest).strip():
        raise ConfigError("the query holds more than one statement; keep one SELECT (a WITH before it is part of it)")
    return Query(text=text[: stops[0].start()].strip())
