"""Parts rows that keep their table's contract from those that break it, and drops duplicates. Knows no paths."""

import json
from dataclasses import dataclass

import dataframely as dy
import polars as pl

from recsys_text.errors import ContractError
from recsys_text.event_types import EVENT_TYPES
from recsys_text.tables import OFFENDER, RULE, TABLES, UNREAD_ROWS, SnapshotItems

#: The columns that tell two rows of a table apart; one of the rows that agree in them is kept.
_IDENTITY = {
    "items": ("item_id",),
    "events": ("occurred_at", "user_id", "item_id", "event_type"),
    "impressions": ("impression_id",),
    "quality": ("window", "version", "metric", "slice"),
}
#: The column that places a row in its window; the other tables have none, or (items) may be older than it.
TIME_COLUMN = {"events": "occurred_at", "impressions": "shown_at"}
_PRIMARY_KEY = "primary_key"
#: So many unknown types of events are named in a line.
_NAMED = 8


@dataclass(frozen=True, kw_only=True)
class Enforced:
    """The rows that hold, in the table's order; those that do not, with `rule` and `offender`; dropped repeats.

    conflicts: how many of the kept rows had repeats that differed from them.
    """

    rows: pl.DataFrame
    rejected: pl.DataFrame
    duplicates: int
    conflicts: int


def enforce(table: str, frame: pl.DataFrame) -> Enforced:
    """Apply a table's contract: `judge`, then `settle`. Raises as `judge` does."""
    return settle(table, judge(table, frame))


def judge(table: str, frame: pl.DataFrame, *, snapshot: bool = False) -> pl.DataFrame:
    """Tell each row of any part of a table whether it holds: the contract's columns, `rule` and `offender`.

    `rule` is the first rule that a row breaks, null where it breaks none; rows whose `rule` was set already, when they
    were cast, keep it. Rows of one identity stay in their order. Those of a snapshot may have no `updated_at`.
    Raises ContractError where a column is missing or of a wrong type.
    """
    schema = SnapshotItems if snapshot else TABLES[table]
    contract = schema.column_names()
    nothing = pl.lit(None, dtype=pl.String)
    frame = frame.with_columns(nothing.alias(name) for name in (RULE, OFFENDER) if name not in frame.columns)
    read = pl.col(RULE).is_null()
    try:
        good, failure = schema.filter(frame.filter(read).select(pl.exclude(RULE, OFFENDER)))
    except dy.exc.SchemaError as error:
        raise ContractError(f"{table}: {str(error).splitlines()[0]}") from None
    details = failure.details()
    # Of two versions of one row one is kept: that is no broken rule, but a duplicate (see `settle`).
    rules = [name for name in details.columns if name not in contract and name != _PRIMARY_KEY]
    broken = pl.coalesce(*(pl.when(pl.col(rule) == "invalid").then(pl.lit(rule)) for rule in rules), nothing)
    return pl.concat(
        [
            good.select(*contract, nothing.alias(RULE), nothing.alias(OFFENDER)),
            details.select(*contract, broken.alias(RULE), nothing.alias(OFFENDER)),
            frame.filter(~read).select(*contract, RULE, OFFENDER),
        ]
    )


def settle(table: str, judged: pl.DataFrame) -> Enforced:
    """Part the rows that hold from the others, and keep one of each identity.

    Of an item the newest by `updated_at` is kept, else the last; of the other tables the first in the table's order, so
    that the result is the same for the same rows in any order.
    """
    contract, identity, holds = TABLES[table].column_names(), _IDENTITY[table], pl.col(RULE).is_null()
    count = judged[RULE].null_count()
    rejected = judged.filter(~holds) if count < judged.height else judged.clear()
    kept = (judged.filter(holds) if rejected.height else judged).select(contract)
    if table == "items":
        # Reversed, as the sort is stable: the last row comes first.
        rows = kept.reverse().sort(
            *identity, "updated_at", descending=[False, True], nulls_last=[False, True], maintain_order=True
        )
    else:
        rows = kept.sort(_order(table))
    if rows.select(identity).is_duplicated().any():
        rows = rows.unique(subset=identity, keep="first", maintain_order=True)
    if rejected.height:
        rejected = rejected.sort([_sortable(name, dtype) for name, dtype in rejected.schema.items()])
    duplicates = count - rows.height
    return Enforced(
        rows=rows,
        rejected=rejected,
        duplicates=duplicates,
        conflicts=_differing(kept, identity) if duplicates else 0,
    )


def describe_offender(rejected: pl.DataFrame, rule: str) -> str:
    """One rejected row in words: the text that could not be read, or the row's filled columns."""
    texts = [_sortable(name, dtype).cast(pl.String).alias(name) for name, dtype in rejected.schema.items()]
    # As texts, since Python's own times end before those of the sources.
    row = rejected.filter(pl.col(RULE) == rule).head(1).select(texts).row(0, named=True)
    if rule == "event_type|dtype":
        return _unknown_types(rejected)
    if rule in UNREAD_ROWS:
        return f"{row[OFFENDER]!r}, {UNREAD_ROWS[rule]}"
    if row[OFFENDER] is not None:
        return f"{rule.partition('|')[0]} = {row[OFFENDER]!r}"
    filled = {name: value for name, value in row.items() if value and name != RULE}
    return ", ".join(f"{name} = {value[:60]!r}" for name, value in filled.items())


def _unknown_types(rejected: pl.DataFrame) -> str:
    """The types of events that the contract does not know, and how to say what they mean."""
    found = rejected.filter(pl.col(RULE) == "event_type|dtype")[OFFENDER].drop_nulls().unique().sort().to_list()
    shown = ", ".join(map(repr, found[:_NAMED])) + (f" and {len(found) - _NAMED} more" if len(found) > _NAMED else "")
    key = json.dumps(found[0], ensure_ascii=False) if found else '"add_to_cart"'
    return (
        f"event_type = {shown}; the types are {', '.join(EVENT_TYPES)}: say which of them yours are, as in "
        f'event_types = {{ {key} = "click" }} in sources.events'
    )


def _order(table: str) -> list[pl.Expr]:
    """The table's order: its identity, and then all other columns, which only decide which duplicate is kept."""
    types, identity = pl.Schema(TABLES[table]), _IDENTITY[table]
    return [_sortable(name, types[name]) for name in (*identity, *(name for name in types if name not in identity))]


def _differing(rows: pl.DataFrame, identity: tuple[str, ...]) -> int:
    """How many identities have rows that differ."""
    different = rows.select(_sortable(name, dtype) for name, dtype in rows.schema.items()).unique()
    return different.group_by(identity).len().filter(pl.col("len") > 1).height


def _sortable(name: str, dtype: pl.DataType) -> pl.Expr:
    return pl.col(name).cast(pl.List(pl.String)).list.join("\x1f") if isinstance(dtype, pl.List) else pl.col(name)
