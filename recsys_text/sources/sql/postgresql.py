"""Reads PostgreSQL through ADBC, through a cursor of the server, so that a query comes piece by piece.

A column comes as its server writes it wherever Arrow has no type of the same meaning.
"""

from collections.abc import Collection, Mapping, Sequence
from typing import Any

import pyarrow as pa

from recsys_text.errors import ConfigError
from recsys_text.sources.arrow import plain_frame
from recsys_text.sources.sql.databases import FETCH_ROWS, Rows
from recsys_text.sources.sql.json_columns import read_json
from recsys_text.sources.sql.names import column_at, quoted, wanted_places
from recsys_text.sources.sql.query import Bounds, Query
from recsys_text.sources.times import Span, zone_name

_AS_THEY_ARE = {"smallint", "integer", "bigint", "boolean", "real", "double precision", "bytea"}
_TIMES = {"timestamp with time zone", "timestamp without time zone", "date"}
_JSON = {"json", "jsonb"}


class Postgresql:
    """An open connection, whose session has the zone of the source's naive times."""

    mismatches: tuple[type[Exception], ...] = ()
    advice = ""

    def __init__(self, uri: str, span: Span | None) -> None:
        try:
            from adbc_driver_postgresql import dbapi  # noqa: PLC0415 - an extra
        except ImportError:
            raise ConfigError("PostgreSQL needs its driver: pip install 'recsys-text[postgres]'") from None
        self._span = span
        self._connection = dbapi.connect(uri)
        with self._connection.cursor() as cursor:
            cursor.execute("SET cursor_tuple_fraction = 1")

    def bounds(self, span: Span) -> Sequence[Bounds]:
        # Types must agree here, so that no comparison can lose rows: another type is refused.
        return [Bounds(start=span.start, end=span.end)]

    def rows(
        self, query: Query, bounds: Bounds | None, wanted: Collection[str] | None = None, *, near: str | None = None
    ) -> Rows:
        text, parameters = query.numbered("$"), None
        if bounds and query.names:
            values = [pa.array([value], pa.timestamp("us", "UTC")) for value in query.values(bounds)]
            parameters = pa.record_batch(values, names=query.names)
        with self._connection.cursor() as cursor:
            # With a COPY, which is the driver's own way, a query takes no parameters.
            cursor.adbc_statement.set_options(**{"adbc.postgresql.use_copy": "false"})
            cursor.execute(f"SELECT * FROM ({text}\n) AS source LIMIT 0", parameters)  # noqa: S608
            names: list[str] = cursor.fetch_arrow_table().schema.names
            kept = wanted_places(names, wanted)
            every = f"({', '.join(map(column_at, range(len(names))))})" if names else ""
            types = self._types(cursor, f"({text}\n) AS source{every}", parameters, kept)
            columns = ", ".join(
                f"{_read_as(column_at(place), types[name])} AS {quoted(name)}" for name, place in kept.items()
            )
            cursor.execute(
                f"DECLARE extraction NO SCROLL CURSOR FOR SELECT {columns} FROM ({text}\n) AS source{every}",  # noqa: S608
                parameters,
            )
            # The server compares naive times with the bounds in the session's zone while it fetches. The driver itself
            # sets the zone to UTC whenever it binds a time.
            zone = zone_name(self._span.zone if self._span else None)
            if ":" in zone:
                # In the zones of POSIX, which PostgreSQL takes for a sign, the sign of an offset is the other one.
                zone = f"<{zone}>{zone.translate(str.maketrans('+-', '-+'))}"
            cursor.execute("SELECT set_config('TimeZone', $1, false)", (zone,))
            while True:
                cursor.execute(f"FETCH {FETCH_ROWS} FROM extraction")
                table = cursor.fetch_arrow_table()
                frame = plain_frame(table)
                yield read_json(frame, [name for name, kind in types.items() if kind in _JSON]), names
                if table.num_rows == 0:
                    cursor.execute("CLOSE extraction")
                    return

    def all_times(self) -> Sequence[Bounds]:
        return []

    def reads_rows(self, query: Query) -> bool:
        return False

    def tables(self) -> list[str]:
        with self._connection.cursor() as cursor:
            cursor.execute(
                "SELECT CASE WHEN table_schema = current_schema() THEN '' ELSE quote_ident(table_schema) || '.' END "
                "|| quote_ident(table_name) AS name FROM information_schema.tables "
                "WHERE table_schema NOT IN ('information_schema', 'pg_catalog') AND table_schema NOT LIKE 'pg_temp%' "
                "ORDER BY name"
            )
            return [str(name) for (name,) in cursor.fetchall()]

    def close(self) -> None:
        self._connection.close()

    def _types(
        self, cursor: Any, source: str, parameters: pa.RecordBatch | None, kept: Mapping[str, int]
    ) -> dict[str, str]:
        """The server's names of the types of the wanted columns."""
        if not kept:
            return {}
        kinds = ", ".join(f"pg_typeof({column_at(place)})::text" for place in kept.values())
        cursor.execute(
            f"SELECT {kinds} FROM (SELECT) AS one LEFT JOIN (SELECT * FROM {source} LIMIT 0) AS two ON true",  # noqa: S608
            parameters,
        )
        return dict(zip(kept, cursor.fetchone(), strict=True))


def _read_as(column: str, kind: str) -> str:
    if kind in _AS_THEY_ARE:
        return column
    if kind in _TIMES:
        # Infinity is no time, but never.
        return f"CASE WHEN isfinite({column}) THEN {column} END"
    if kind in ("numeric", "money"):
        return f"trim_scale({column}::numeric)::text"
    return f"{column}::text[]" if kind.endswith("[]") else f"{column}::text"
