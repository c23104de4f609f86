"""The plugin that puts a page into Airflow's navigation. Every process of Airflow imports it, so it imports nothing."""

from functools import cached_property
from typing import Any, ClassVar

from airflow.sdk.plugins_manager import AirflowPlugin

PREFIX = "/recsys-text"


class RecsysTextPlugin(AirflowPlugin):
    """One application below Airflow's own, and a link to it."""

    name = "recsys_text"
    external_views: ClassVar[list[dict[str, Any]]] = [
        # Relative, so that it is found wherever `api.base_url` puts Airflow.
        {"name": "Recsys", "href": f"{PREFIX[1:]}/", "url_route": "recsys-text", "destination": "nav"}
    ]

    @cached_property
    def fastapi_apps(self) -> list[dict[str, Any]]:
        """Made by the API server alone."""
        from recsys_text.provider.page.app import create_page  # noqa: PLC0415 - FastAPI, jinja2

        return [{"app": create_page(), "url_prefix": PREFIX, "name": "recsys-text"}]
