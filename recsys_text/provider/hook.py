"""The feature store as an Airflow connection. Knows no project and no step."""

from typing import Any
from urllib.parse import quote, urlencode

from airflow.sdk import BaseHook

from feature_store import Reader, Store, StoreError, open_store
from recsys_text.errors import ConfigError
from recsys_text.publications import SCORES


class RecsysTextHook(BaseHook):
    """Reads what is published, in DAGs that need neither the project's config nor its password in a file.

    A connection of type `recsys_text` names a folder, or a Redis with its user and password.
    """

    conn_name_attr = "conn_id"
    default_conn_name = "recsys_text_default"
    conn_type = "recsys_text"
    hook_name = "recsys-text feature store"

    def __init__(self, conn_id: str = default_conn_name) -> None:
        super().__init__()
        self.conn_id = conn_id

    def get_conn(self) -> Store:
        """The store; reaches nothing yet. Raises ConfigError for a connection that names none, or two."""
        return open_store(store_url(self.get_connection(self.conn_id)))

    def reader(self, view: str = SCORES) -> Reader:
        """A reader of whatever is served of a view, scores by default. Raises what `Store.reader` raises."""
        return self.get_conn().reader(view)

    def test_connection(self) -> tuple[bool, str]:
        """What Airflow's button says: whether the store answers, and which views it has."""
        try:
            views = self.get_conn().views()
        except (ConfigError, StoreError) as error:
            return False, str(error)
        return True, f"The store has {', '.join(views)}" if views else "The store answers; nothing is published yet"


def store_url(connection: Any) -> str:
    """The address that `open_store` takes; it holds the password. Raises ConfigError as `get_conn` does."""
    fields = connection.extra_dejson
    folder, host = fields.get("folder"), connection.host
    if bool(folder) == bool(host):
        raise ConfigError(
            f"connection '{connection.conn_id}' names {'both a folder and a Redis' if folder else 'no store'}; "
            "give it either the field 'folder' or a host"
        )
    if folder:
        return f"file:{folder}"
    # A connection that is written as a URI has texts alone.
    scheme = "rediss" if str(fields.get("tls") or "").lower() in ("true", "1") else "redis"
    login = f"{quote(connection.login or '', safe='')}:{quote(connection.password or '', safe='')}@"
    prefix = "?" + urlencode({"prefix": fields["prefix"]}) if fields.get("prefix") else ""
    place = f"{host}:{connection.port or 6379}/{fields.get('database') or 0}"
    return f"{scheme}://{login if login != ':@' else ''}{place}{prefix}"
