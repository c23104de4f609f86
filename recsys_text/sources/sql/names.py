"""Names of tables and columns as SQL writes them. Knows no database."""

import re

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
