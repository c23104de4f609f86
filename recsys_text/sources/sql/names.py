"""Names of tables and columns as SQL writes them. Knows no database."""

import re
from collections.abc import Collection, Sequence

from recsys_text.errors import ContractError

_RESERVED_WORDS = """
all alter and as between by case check create cross default delete desc distinct drop else end exists from full group
having in index inner insert into is join left like limit not null offset on or order outer primary references right
select set table then to transaction union unique update user using values view when where window with
"""
_RESERVED = frozenset(_RESERVED_WORDS.split())


def quoted(name: str, sign: str = '"') -> str:
    """The name between quotes, which every database of the standard takes for a name."""
    return sign + name.replace(sign, sign * 2) + sign


def written(name: str, sign: str = '"') -> str:
    """The name as a person would write it: without quotes where it needs none."""
    plain = re.fullmatch(r"[a-z_][a-z0-9_]*", name) and name not in _RESERVED
    return name if plain else quoted(name, sign)


def wanted_places(names: Sequence[str], wanted: Collection[str] | None) -> dict[str, int]:
    """The wanted columns of a query (None: all), each with its place among them. Raises ContractError for twins."""
    kept = {name: place for place, name in enumerate(names) if wanted is None or name in wanted}
    twins = sorted(name for name in kept if names.count(name) > 1)
    if twins:
        raise ContractError(f"the query gives more than one column '{twins[0]}'; give each its own name with AS")
    return kept


def column_at(place: int) -> str:
    """A name for the column at this place, whose own name others may share but for the case of their letters."""
    return f"column_{place}"
