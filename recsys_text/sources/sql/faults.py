"""Turns what a database's driver raises into one line. Knows no driver: each backend names its own."""

from collections.abc import Iterator
from contextlib import contextmanager
from urllib.parse import unquote

import adbc_driver_manager
import polars as pl
import pyarrow as pa

from recsys_text.errors import ConfigError, ContractError, RecsysTextError, UnavailableError
from recsys_text.sources.sql.addresses import Address

#: What a database says where waiting may help, and where only another address or query does.
_PASSING = (
    "is locked",
    "lock on file",
    "could not connect",
    "can't connect",
    "connection refused",
    "connection failed",
    "lost connection",
    "server has gone away",
    "closed the connection",
    "terminating connection",
    "timed out",
    "timeout expired",
    "too many connections",
    "deadlock",
)
#: What SQLite and DuckDB say of a file that is none of theirs, or not what they wrote.
_DAMAGED = ("not a database", "malformed", "corrupt", "not a valid duckdb database", "no valid db file")
_MISTAKES = ("authentication failed", "access denied", "does not exist", "invalid integer value", "invalid port")
_SHOWN = 500


@contextmanager
def one_line_faults(address: Address) -> Iterator[None]:
    """Raise ConfigError for what the database refuses, ContractError for a file that is damaged or no database, and
    UnavailableError where another try may help. Each names the database.

    Drivers raise what they like (a TypeError for an option, an OSError of a socket), so everything is taken here.
    """
    place = address.shown()
    try:
        yield
    except RecsysTextError:
        raise
    except (Exception, pl.exceptions.PanicException) as error:  # a panic of Rust is no Exception
        words = _words(error, address)
        low = words.lower()
        broken = isinstance(error, (adbc_driver_manager.Error, OSError, pa.ArrowException))
        refused = isinstance(error, adbc_driver_manager.ProgrammingError)
        if "database is locked" in low:
            raise UnavailableError(f"somebody writes to the database {place}: {words}; try again") from None
        if any(sign in low for sign in _DAMAGED):
            raise ContractError(f"{place} is damaged, or no database: {words}") from None
        if not any(sign in low for sign in _MISTAKES) and (
            any(sign in low for sign in _PASSING) or (broken and not refused)
        ):
            raise UnavailableError(f"reading from {place} broke off: {words}") from None
        raise ConfigError(f"{place} refuses the query: {words}{_hint(low)}") from None


def _hint(low: str) -> str:
    if "operator does not exist" in low or "cannot compare" in low:
        return (
            "; :start and :end are times: compare text as CAST(column AS TIMESTAMPTZ), and seconds since 1970 as "
            "to_timestamp(column)"
        )
    return ""


def _words(error: BaseException, address: Address) -> str:
    """The database's words in one line, without the address and its secrets."""
    # SQLAlchemy wraps the driver's own words, and some drivers add the query: it may hold what is secret.
    own = getattr(error, "orig", None) or error
    words = " ".join(str(own).split()).partition(" Query was:")[0] or type(own).__name__
    for secret in sorted(address.secrets(), key=len, reverse=True):
        words = words.replace(unquote(secret), "...").replace(secret, "...")
    return words if len(words) <= _SHOWN else f"{words[:_SHOWN]}..."
