"""What the distribution tells Airflow about itself, and where its DAGs are. Knows no step, and no Airflow either."""

from pathlib import Path
from typing import Any

_INTEGRATION = "recsys-text"


def get_provider_info() -> dict[str, Any]:
    """The provider's entry in `airflow providers list`; the keys are those of Airflow's provider schema.

    The plugin is no part of it: it has an entry point of its own, because Airflow takes plugins from here only where
    `core.lazy_discover_providers` is off, and would complain about its second registration then.
    """
    return {
        "package-name": "recsys-text",
        "name": "recsys-text",
        "description": "DAGs that extract, train, publish and monitor text-aware recommendations.",
        "integrations": [{"integration-name": _INTEGRATION, "tags": ["software"]}],
        "operators": [_modules("recsys_text.provider.operators")],
        "sensors": [_modules("recsys_text.provider.sensor")],
        "hooks": [_modules("recsys_text.provider.hook")],
        "bundles": [_modules("recsys_text.provider.dag_bundle")],
        "connection-types": [_connection_type()],
    }


def dags_folder() -> Path:
    """The folder to point Airflow at (`dags_folder`, a DAG bundle): in the installed package, else in the checkout."""
    here = Path(__file__).resolve().parent
    packaged = here / "dags"
    return packaged if packaged.is_dir() else here.parent.parent / "dags"


def _modules(*names: str) -> dict[str, Any]:
    return {"integration-name": _INTEGRATION, "python-modules": list(names)}


def _connection_type() -> dict[str, Any]:
    """The form of a connection: a Redis by host and password, or a folder. Airflow shows it without the hook."""
    return {
        "connection-type": "recsys_text",
        "hook-class-name": "recsys_text.provider.hook.RecsysTextHook",
        "hook-name": "recsys-text feature store",
        "ui-field-behaviour": {
            "hidden-fields": ["schema", "extra"],
            "relabeling": {"host": "Redis host", "login": "Redis user"},
            "placeholders": {"host": "redis.example.com", "port": "6379"},
        },
        "conn-fields": {
            "folder": {
                "label": "Folder",
                "description": "Where the store is a folder: its path as workers see it. Leave the host empty then.",
                "schema": {"type": ["string", "null"]},
            },
            "database": {
                "label": "Redis database",
                "schema": {"type": ["integer", "null"], "minimum": 0, "default": 0},
            },
            "prefix": {
                "label": "Prefix of keys",
                "description": "As in the store's URL; 'fs:' where that has none.",
                "schema": {"type": ["string", "null"]},
            },
            "tls": {"label": "TLS", "schema": {"type": ["boolean", "null"], "default": False}},
        },
    }
