"""Reads any database that an Airflow connection's own hook opens, where it is a DbApiHook."""

from collections.abc import Collection, Sequence
from contextlib import closing

from recsys_text.errors import ConfigError
from recsys_text.sources.sql.databases import FETCH_ROWS, Rows
from recsys_text.sources.sql.lenient import EVERY_TIME, lenient_bounds
from recsys_text.sources.sql.names import written
from recsys_text.sources.sql.query import Bounds, Query
from recsys_text.sources.sql.rows import frame_of_rows
from recsys_text.sources.times import Span


class Hook:
    """The hook of one connection, which opens the database anew for each query."""

    advice = "a time on both sides: of numbers since 1970 with the database's own function, of texts with a CAST"

    def __init__(self, conn_id: str, span: Span | None, time_unit: str | None) -> None:
        try:
            from airflow.providers.common.sql.hooks.sql import DbApiHook  # noqa: PLC0415 - an extra
            from airflow.sdk import BaseHook  # noqa: PLC0415
            from airflow.sdk.exceptions import AirflowException  # noqa: PLC0415
        except ImportError:
            raise ConfigError(
                f"connection '{conn_id}' is read by its Airflow hook: pip install apache-airflow-providers-common-sql"
            ) from None
        try:
            hook = BaseHook.get_hook(conn_id)
        except (AirflowException, ImportError) as error:
            raise ConfigError(
                f"connection '{conn_id}' has no hook here ({error}); install Airflow's provider of its type"
            ) from None
        if not isinstance(hook, DbApiHook):
            raise ConfigError(f"connection '{conn_id}' is of {type(hook).__name__}, which runs no SQL")
        self._hook = hook
        self._span = span
        self._time_unit = time_unit
        self.mismatches: tuple[type[Exception], ...] = (Exception,)  # each driver has its own

    def bounds(self, span: Span) -> Sequence[Bounds]:
        return lenient_bounds(span, self._time_unit)

    def rows(
        self, query: Query, bounds: Bounds | None, wanted: Collection[str] | None = None, *, near: str | None = None
    ) -> Rows:
        values = [getattr(bounds, name) for name in query.every_name] if bounds else []
        sign = self._hook.placeholder
        # A driver that formats its query takes each percent sign for the start of a placeholder, if it is given values.
        escaped = "%%" if values and sign == "%s" else "%"
        text = query.replaced(lambda name: sign, lambda between: between.replace("%", escaped))
        # The provider's own polars reader hands parameters to each driver under a name that few drivers know.
        with closing(self._hook.get_conn()) as connection, closing(connection.cursor()) as cursor:
            if values:
                cursor.execute(text, tuple(values))
            else:
                cursor.execute(text)
            names = [column[0] for column in cursor.description]
            rows = cursor.fetchmany(FETCH_ROWS)
            yield frame_of_rows(names, rows, wanted), names
            while rows := cursor.fetchmany(FETCH_ROWS):
                yield frame_of_rows(names, rows, wanted), names

    def all_times(self) -> Sequence[Bounds]:
        return EVERY_TIME

    def reads_rows(self, query: Query) -> bool:
        return False

    def tables(self) -> list[str]:
        inspector = self._hook.inspector
        return [written(name) for name in sorted({*inspector.get_table_names(), *inspector.get_view_names()})]

    def close(self) -> None:
        """Nothing stays open between two queries."""
