"""Where a database is: a config's uri or an Airflow connection, read without opening anything."""

import json
import os
import re
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal
from urllib.parse import parse_qsl, quote, unquote, urlencode, urlsplit

from recsys_text.errors import ConfigError
from recsys_text.sections import Source

#: Dialects that SQLAlchemy knows by another driver than the one that we ask for.
_DRIVERS = {"mysql": "mysql+pymysql", "mariadb": "mariadb+pymysql"}
_FILES = {"sqlite": "SQLite", "duckdb": "DuckDB"}
_SECRET_OPTION = re.compile("password|passwd|pwd|token|secret|key", re.IGNORECASE)


@dataclass(frozen=True, kw_only=True)
class Address:
    """Where a database is.

    kind: what reads it; `hook` is an Airflow connection that only its own hook knows to open.
    target: the file's path, the address (which holds secrets), or the connection's id.
    """

    kind: Literal["sqlite", "duckdb", "postgresql", "sqlalchemy", "hook"]
    target: str

    def shown(self) -> str:
        """The address without what may be secret."""
        if self.kind in ("sqlite", "duckdb"):
            return self.target
        if self.kind == "hook":
            return f"connection '{self.target}'"
        scheme, _, rest = self.target.partition("://")
        place, _, options = rest.partition("?")
        # With a sign of a login behind it, a question mark may be a letter of the password.
        return f"{scheme.partition('+')[0]}://{'...' if '@' in options else place.rpartition('@')[2]}"

    def secrets(self) -> list[str]:
        """The parts of the address that no message may show, as they are written there."""
        if self.kind in ("sqlite", "duckdb", "hook"):
            return []
        authority, _, options = self.target.partition("://")[2].partition("?")
        login = authority.rpartition("@")[0]
        named = [value for name, value in re.findall(r"([^=&]+)=([^&]*)", options) if _SECRET_OPTION.search(name)]
        found = [self.target, self.target.partition("://")[2], login, login.partition(":")[2], *named]
        return [secret for secret in found if secret]


def resolve(source: Source) -> Address:
    """The database of a source's uri or Airflow connection. Raises ConfigError for one that is not known."""
    if source.uri is not None:
        return address_of_uri(source.uri)
    assert source.conn_id is not None
    return address_of_connection(source.conn_id)


def address_of_connection(conn_id: str) -> Address:
    """The database of an Airflow connection; where Airflow is absent, of its environment variable."""
    try:
        from airflow.sdk import BaseHook  # noqa: PLC0415 - only where an Airflow connection is named
        from airflow.sdk.exceptions import AirflowException  # noqa: PLC0415
    except ImportError:
        return _address_of_variable(conn_id)
    try:
        found = BaseHook.get_connection(conn_id)
    except AirflowException:
        raise ConfigError(_unknown_connection(conn_id)) from None
    return _address_of_parts(conn_id, found.to_dict())


def _unknown_connection(conn_id: str) -> str:
    return f"no Airflow connection '{conn_id}'; add it in Airflow, or set AIRFLOW_CONN_{conn_id.upper()}"


def _address_of_variable(conn_id: str) -> Address:
    """Reads AIRFLOW_CONN_<ID> as Airflow would: a URI, or JSON."""
    text = os.environ.get(f"AIRFLOW_CONN_{conn_id.upper()}")
    if text is None:
        raise ConfigError(_unknown_connection(conn_id))
    if text.lstrip().startswith("{"):
        try:
            described = json.loads(text)
        except ValueError:
            raise ConfigError(f"AIRFLOW_CONN_{conn_id.upper()} is neither a URI nor JSON") from None
        return _address_of_parts(conn_id, described)
    parts = urlsplit(text)
    fields = {
        "conn_type": parts.scheme,
        "host": unquote(parts.hostname or ""),
        "schema": unquote(parts.path[1:]),
        "login": unquote(parts.username or ""),
        "password": unquote(parts.password or ""),
        "port": parts.port,
        "extra": dict(parse_qsl(parts.query)),
    }
    if parts.scheme == "sqlite":
        # A path's letters matter, and `hostname` lowers them.
        fields["host"] = unquote(parts.netloc)
    return _address_of_parts(conn_id, fields)


def _address_of_parts(conn_id: str, fields: dict[str, Any]) -> Address:
    kind = fields.get("conn_type") or ""
    extra = fields.get("extra") or {}
    extra = json.loads(extra) if isinstance(extra, str) else extra
    host, schema = fields.get("host") or "", fields.get("schema") or ""
    if kind == "sqlite":
        return _sqlite_of_connection(conn_id, host, schema)
    if kind not in ("postgres", "postgresql"):
        return Address(kind="hook", target=conn_id)
    secret = f":{quote(fields['password'], safe='')}" if fields.get("password") else ""
    login = f"{quote(fields['login'], safe='')}{secret}@" if fields.get("login") else ""
    port = f":{fields['port']}" if fields.get("port") else ""
    plain = {name: value for name, value in extra.items() if isinstance(value, str) and name.islower()}
    options = f"?{urlencode(plain, quote_via=quote)}" if plain else ""
    return Address(
        kind="postgresql", target=f"postgresql://{login}{quote(host, safe='')}{port}/{quote(schema, safe='')}{options}"
    )


def _sqlite_of_connection(conn_id: str, host: str, schema: str) -> Address:
    # Airflow reads sqlite:////path as the schema "/path" and sqlite:///path as the schema "path"; JSON has the path as
    # its host. A connection lies in no folder, so that its path can only start at the root.
    if host and not host.startswith("/"):
        path = f"{host}/{schema}".rstrip("/")
        raise ConfigError(f"connection '{conn_id}': '{path}' is not a whole path; write sqlite:////path/to.db")
    return file_address("sqlite", host or f"/{schema.lstrip('/')}")


def address_of_uri(uri: str) -> Address:
    """The database of a uri. Raises ConfigError for what is none, or a file that is not there."""
    scheme, separator, rest = uri.partition("://")
    dialect = scheme.partition("+")[0]
    if not separator or not re.fullmatch(r"[A-Za-z][\w.-]*(\+\w+)?", scheme):
        raise ConfigError("a uri without '://' is not read; write postgresql://..., sqlite:////path/to.db or the like")
    if dialect in _FILES:
        if not rest.startswith("/"):
            raise ConfigError(f"a uri of {_FILES[dialect]} has three slashes before its path: {dialect}:///{rest}")
        return file_address(dialect, rest[1:])
    if rest.partition("?")[0].count("@") > 1:
        raise ConfigError(f"the uri of {dialect} holds more than one '@'; write %40 for one in a user or password")
    if dialect in ("postgres", "postgresql"):
        return Address(kind="postgresql", target=f"postgresql://{rest}")
    return Address(kind="sqlalchemy", target=f"{_DRIVERS.get(scheme, scheme)}://{rest}")


def file_address(dialect: str, path: str) -> Address:
    """A database that is one file, whose path is taken literally. Raises ConfigError where it is not there."""
    if not Path(path).is_file():
        raise ConfigError(f"no {_FILES[dialect]} database at {path}")
    return Address(kind="sqlite" if dialect == "sqlite" else "duckdb", target=path)
