"""A rule about data, and what it found. Knows no data."""

from collections.abc import Iterable
from dataclasses import dataclass
from itertools import islice
from typing import Any, Literal

Level = Literal["ok", "warning", "error"]
#: Offenders that are shown.
EXAMPLES = 3


@dataclass(frozen=True, kw_only=True)
class Finding:
    """`count` of `of` rows, users or items break the rule `name`; `examples` has ids of some; `line` says it to people.

    The line tells what was found and, where it is no "ok", why it matters and the way out.
    """

    name: str
    level: Level
    count: int
    of: int
    examples: tuple[str, ...]
    line: str

    @property
    def share(self) -> float:
        return self.count / self.of if self.of else 0.0

    def to_json(self) -> dict[str, Any]:
        return {
            "check": self.name,
            "level": self.level,
            "count": self.count,
            "of": self.of,
            "share": self.share,
            "examples": list(self.examples),
            "line": self.line,
        }


@dataclass(frozen=True, kw_only=True)
class Rule:
    """A share above `warning` is a warning, one above `error` an error. `found` says what is counted."""

    name: str
    found: str
    why: str
    way_out: str
    warning: float = 0.0
    error: float = 1.0

    def judge(self, count: int, of: int, examples: Iterable[object] = (), **words: object) -> Finding:
        """words: what `found` names in braces beside {count} and {of}."""
        share = count / of if of else 0.0
        level: Level = "error" if share > self.error else "warning" if share > self.warning else "ok"
        shown = tuple(str(example) for example in islice(examples, EXAMPLES)) if count else ()
        line = self.found.format(count=f"{count:,}", of=f"{of:,}", **words)
        if level != "ok":
            such = f", such as {', '.join(shown)}" if shown else ""
            line = f"{line}{such}. {self.why} {self.way_out}"
        return Finding(name=self.name, level=level, count=count, of=of, examples=shown, line=line)
