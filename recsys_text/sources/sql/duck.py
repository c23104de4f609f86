"""Reads a DuckDB file by its own driver, whose results are Arrow batches. The file is opened to read only."""

import re
from collections.abc import Collection, Sequence

import polars as pl
import pyarrow as pa

from recsys_text.errors import ConfigError, ContractError
from recsys_text.sources.arrow import plain_frame
from recsys_text.sources.sql.databases import FETCH_ROWS, Rows
from recsys_text.sources.sql.json_columns import read_json
from recsys_text.sources.sql.names import column_at, wanted_places, written
from recsys_text.sources.sql.query import Bounds, Query
from recsys_text.sources.times import Span, zone_name

#: Types that Arrow knows by the same meaning, by how their names begin.
_AS_THEY_ARE = (
    *("TINYINT", "SMALLINT", "INTEGER", "BIGINT", "UTINYINT", "USMALLINT", "UINTEGER", "UBIGINT", "BOOLEAN"),
    *("FLOAT", "DOUBLE", "DECIMAL", "VARCHAR", "BLOB"),
)
_NESTED = ("STRUCT", "MAP")
#: JSON, and lists of it.
_JSON = re.compile(r"JSON(\[\d*\])?")
_TIMES = ("TIMESTAMP", "DATE")


class Duck:
    """An open DuckDB file, whose session has the zone of the source's naive times."""

    mismatches: tuple[type[Exception], ...] = ()
    advice = ""

    def __init__(self, path: str, span: Span | None) -> None:
        try:
            import duckdb  # noqa: PLC0415 - an extra
        except ImportError:
            raise ConfigError("DuckDB needs its driver: pip install 'recsys-text[duckdb]'") from None
        self._span = span
        self._connection = duckdb.connect(path, read_only=True)
        zone = zone_name(span.zone if span else None)
        self._connection.execute(f"SET TimeZone = '{f'GMT{zone}' if ':' in zone else zone}'")

    def bounds(self, span: Span) -> Sequence[Bounds]:
        # Types must agree here, so that no comparison can lose rows: another type is refused.
        return [Bounds(start=span.start, end=span.end)]

    def rows(
        self, query: Query, bounds: Bounds | None, wanted: Collection[str] | None = None, *, near: str | None = None
    ) -> Rows:
        text = query.numbered("$")
        values = query.values(bounds) if bounds else []
        described = self._connection.execute(f"DESCRIBE {text}", values).fetchall()
        names = [row[0] for row in described]
        kept = wanted_places(names, wanted)
        types = {name: described[place][1] for name, place in kept.items()}
        if not kept:
            yield pl.DataFrame(), names
            return
        columns = ", ".join(f"{_read_as(column_at(place), name, types[name])}" for name, place in kept.items())
        every = ", ".join(map(column_at, range(len(names))))
        relation = self._connection.sql(
            f"SELECT {columns} FROM ({text}\n) AS source({every})",  # noqa: S608 - the user's own query
            params=values,
        )
        reader = relation.to_arrow_reader(FETCH_ROWS)
        json = [name for name, kind in types.items() if _JSON.fullmatch(kind)]
        yield read_json(plain_frame(reader.schema.empty_table().rename_columns(list(kept))), json), names
        for batch in reader:
            yield read_json(plain_frame(pa.Table.from_batches([batch]).rename_columns(list(kept))), json), names

    def all_times(self) -> Sequence[Bounds]:
        return []

    def reads_rows(self, query: Query) -> bool:
        return False

    def tables(self) -> list[str]:
        found = self._connection.execute(
            "SELECT table_schema, table_name FROM information_schema.tables ORDER BY table_schema <> 'main', 1, 2"
        )
        return [
            written(table) if schema == "main" else f"{written(schema)}.{written(table)}"
            for schema, table in found.fetchall()
        ]

    def close(self) -> None:
        self._connection.close()


def _read_as(column: str, name: str, kind: str) -> str:
    if "UNION(" in kind:
        raise ContractError(
            f"column '{name}' of the query holds {kind}; name the member that is meant in the query, such as "
            f"{name}.member"
        )
    element = re.sub(r"\[\d*\]$", "", kind)
    if element == "JSON":
        return f"to_json({column})::VARCHAR"
    if element != kind:
        # Nested values have no text that anybody means: a field of them can be named, or they are refused.
        nested = element.endswith("]") or element.startswith(_NESTED)
        return column if nested else f"{column}::VARCHAR[]"
    if kind.startswith(_TIMES):
        # Infinity is no time, but never.
        return f"CASE WHEN isfinite({column}) THEN {column} END"
    return column if kind.startswith((*_AS_THEY_ARE, *_NESTED)) else f"{column}::VARCHAR"
