"""Reads any database that SQLAlchemy knows, in batches from a cursor of the server where its driver has one."""

from collections.abc import Collection, Sequence
from typing import TYPE_CHECKING, Any

from recsys_text.errors import ConfigError
from recsys_text.sources.sql.databases import FETCH_ROWS, Rows
from recsys_text.sources.sql.lenient import EVERY_TIME, lenient_bounds
from recsys_text.sources.sql.names import written
from recsys_text.sources.sql.query import Bounds, Query
from recsys_text.sources.sql.rows import frame_of_rows
from recsys_text.sources.times import Span, zone_name

if TYPE_CHECKING:
    from sqlalchemy.engine import Connection

_MYSQL = {"mysql", "mariadb"}
#: What `pip install` a dialect needs besides SQLAlchemy, for those that people have most.
_PACKAGES = {
    "mysql": "pymysql",
    "mariadb": "pymysql",
    "mssql": "pyodbc",
    "oracle": "oracledb",
    "snowflake": "snowflake-sqlalchemy",
    "bigquery": "sqlalchemy-bigquery",
    "trino": "trino[sqlalchemy]",
    "redshift": "sqlalchemy-redshift",
    "databricks": "databricks-sqlalchemy",
    "clickhouse": "clickhouse-sqlalchemy",
}
#: MySQL's number of the type TIMESTAMP, whose values the server gives in the session's zone.
_TIMESTAMP = 7


class Alchemy:
    """An open connection of an engine of SQLAlchemy's; in MySQL, its session has the zone of the source's times."""

    advice = (
        "numbers of seconds with unix_timestamp(:start) or what the database has for it, texts with a CAST to a time"
    )

    def __init__(self, uri: str, span: Span | None, time_unit: str | None) -> None:
        try:
            import sqlalchemy  # noqa: PLC0415 - an extra
        except ImportError:
            raise ConfigError("this database is read by SQLAlchemy: pip install 'recsys-text[sql]'") from None
        dialect = uri.partition(":")[0].partition("+")[0]
        try:
            engine = sqlalchemy.create_engine(uri, poolclass=sqlalchemy.pool.NullPool)
        except (sqlalchemy.exc.NoSuchModuleError, ImportError) as error:
            package = _PACKAGES.get(dialect)
            way = f"pip install '{package}'" if package else "install its dialect for SQLAlchemy"
            raise ConfigError(f"no driver for {dialect} ({error}): {way}") from None
        self._sqlalchemy = sqlalchemy
        self._dialect = dialect
        self._span = span
        self._time_unit = time_unit
        self.mismatches: tuple[type[Exception], ...] = (sqlalchemy.exc.DBAPIError,)
        self._connection: Connection = engine.connect()
        if dialect in _MYSQL:
            self._set_zone()

    def bounds(self, span: Span) -> Sequence[Bounds]:
        return lenient_bounds(span, self._time_unit)

    def rows(
        self, query: Query, bounds: Bounds | None, wanted: Collection[str] | None = None, *, near: str | None = None
    ) -> Rows:
        # A colon in SQLAlchemy's text starts a placeholder unless a backslash stands before it.
        text = query.replaced(lambda name: f":{name}", lambda between: between.replace(":", "\\:"))
        values = {name: getattr(bounds, name) for name in query.names} if bounds else {}
        streamed = self._connection.execution_options(stream_results=True, yield_per=FETCH_ROWS)
        try:
            with streamed.execute(self._sqlalchemy.text(text), values) as result:
                names, zoned = list(result.keys()), self._zoned(result.cursor)
                empty = True
                for rows in result.partitions():
                    empty = False
                    yield frame_of_rows(names, rows, wanted, zoned), names
                if empty:
                    yield frame_of_rows(names, [], wanted), names
        except self.mismatches:
            self._connection.rollback()  # some databases take nothing more in a transaction that failed
            raise

    def all_times(self) -> Sequence[Bounds]:
        return EVERY_TIME

    def reads_rows(self, query: Query) -> bool:
        return False

    def tables(self) -> list[str]:
        inspector = self._sqlalchemy.inspect(self._connection)
        sign = "`" if self._dialect in _MYSQL else '"'
        return [written(name, sign) for name in sorted({*inspector.get_table_names(), *inspector.get_view_names()})]

    def close(self) -> None:
        self._connection.close()

    def _zoned(self, cursor: Any) -> set[str]:
        """The columns whose naive times are UTC: MySQL's TIMESTAMP, where the source names no zone."""
        if self._dialect not in _MYSQL or (self._span and self._span.zone):
            return set()
        return {column[0] for column in cursor.description if column[1] == _TIMESTAMP}

    def _set_zone(self) -> None:
        """Lets MySQL compare and show its own instants in the zone of the source's naive times."""
        zone = self._span.zone if self._span else None
        statement = self._sqlalchemy.text("SET time_zone = :zone")
        if zone is None:
            self._connection.execute(statement, {"zone": "+00:00"})
            return
        try:
            self._connection.execute(statement, {"zone": zone_name(zone)})
        except self._sqlalchemy.exc.DBAPIError:
            # A server whose table of zones is empty takes offsets alone.
            assert self._span is not None
            offsets = {time.astimezone(zone).strftime("%z") for time in (self._span.start, self._span.end)}
            if len(offsets) > 1:
                raise ConfigError(
                    f"the server knows no zone '{zone_name(zone)}', whose clocks change in this span: load the "
                    "server's zones (mariadb-tzinfo-to-sql or mysql_tzinfo_to_sql)"
                ) from None
            (offset,) = offsets
            self._connection.execute(statement, {"zone": f"{offset[:3]}:{offset[3:5]}"})
