"""Parts rows that keep their table's contract from those that break it, and drops duplicates. Knows no paths."""

from dataclasses import dataclass

import dataframely as dy
import polars as pl

from recsys_text.errors import ContractError
from recsys_text.tables import OFFENDER, RULE, TABLES

#: The columns that tell two rows of a table apart; the first row in the table's order is kept.
_IDENTITY = {
    "items": ("item_id",),
    "events": ("occurred_at", "user_id", "item_id", "event_type"),
    "impressions": ("impression_id",),
    "quality": ("window", "version", "metric", "slice"),
}
#: The column that places a row in its window; the other tables have none, or (items) may be older than it.
TIME_COLUMN = {"events": "occurred_at", "impressions": "shown_at"}
_PRIMARY_KEY = "primary_key"


@dataclass(frozen=True, kw_only=True)
class Enforced:
    """The rows that hold, in the table's order; those that do not, with `rule` and `offender`; dropped repeats."""

    rows: pl.DataFrame
    rejected: pl.DataFrame
    duplicates: int


def enforce(table: str, frame: pl.DataFrame) -> Enforced:
    """Applies a table's contract. Rows whose `rule` is set were found broken already, when they were cast.

    A row that breaks several rules counts for the first. The result is the same for the same rows in any order.
    Raises ContractError where a column is missing or of a wrong type.
    """
    schema = TABLES[table]
    contract = schema.column_names()
    nothing = pl.lit(None, dtype=pl.String)
    frame = frame.with_columns(nothing.alias(name) for name in (RULE, OFFENDER) if name not in frame.columns)
    read = pl.col(RULE).is_null()
    try:
        good, failure = schema.filter(frame.filter(read).select(pl.exclude(RULE, OFFENDER)))
    except dy.exc.SchemaError as error:
        raise ContractError(f"{table}: {str(error).splitlines()[0]}") from None
    details = failure.details()
    # Of two versions of one row the newest is kept: that is no broken rule, but a duplicate (below).
    rules = [name for name in details.columns if name not in contract and name != _PRIMARY_KEY]
    broken = details.with_columns(
        pl.coalesce(*(pl.when(pl.col(rule) == "invalid").then(pl.lit(rule)) for rule in rules), nothing).alias(RULE)
    )
    kept = pl.concat([good.select(contract), broken.filter(pl.col(RULE).is_null()).select(contract)])
    order, descending = _order(table)
    ordered = kept.sort(order, descending=descending)
    unique = ordered.unique(subset=_IDENTITY[table], keep="first", maintain_order=True)
    rejected = pl.concat(
        [
            frame.filter(~read).select(*contract, RULE, OFFENDER),
            broken.filter(pl.col(RULE).is_not_null()).select(*contract, RULE, nothing.alias(OFFENDER)),
        ]
    )
    return Enforced(
        rows=unique,
        rejected=rejected.sort([_sortable(name, dtype) for name, dtype in rejected.schema.items()]),
        duplicates=ordered.height - unique.height,
    )


def describe_offender(rejected: pl.DataFrame, rule: str) -> str:
    """One rejected row in words: the text that could not be read, or the row's filled columns."""
    row = rejected.filter(pl.col(RULE) == rule).row(0, named=True)
    if row[OFFENDER] is not None:
        return f"{rule.partition('|')[0]} = {row[OFFENDER]!r}"
    filled = {name: str(value) for name, value in row.items() if value is not None and name != RULE}
    return ", ".join(f"{name} = {value[:60]!r}" for name, value in filled.items())


def _order(table: str) -> tuple[list[pl.Expr], list[bool]]:
    """The table's order, and which of its columns descend: of an item's versions the newest comes first.

    The columns after the identity only decide which of two duplicates is kept.
    """
    types = pl.Schema(TABLES[table])
    first = [*_IDENTITY[table], *(["updated_at"] if table == "items" else [])]
    names = [*first, *(name for name in types if name not in first)]
    return [_sortable(name, types[name]) for name in names], [
        (table, name) == ("items", "updated_at") for name in names
    ]


def _sortable(name: str, dtype: pl.DataType) -> pl.Expr:
    return pl.col(name).cast(pl.List(pl.String)).list.join("\x1f") if isinstance(dtype, pl.List) else pl.col(name)
