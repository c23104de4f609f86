"""The page's links hold wherever `api.base_url` puts Airflow."""

from fastapi import FastAPI
from fastapi.testclient import TestClient

from recsys_text.provider.page.app import create_page
from recsys_text.provider.plugin import PREFIX


def test_links_start_where_airflow_does() -> None:
    for root in ("", "/company/airflow"):
        airflow = FastAPI(root_path=root)
        airflow.mount(PREFIX, create_page())
        answer = TestClient(airflow).get(f"{root}{PREFIX}/nowhere")
        assert answer.status_code == 404
        assert f'href="{root}{PREFIX}/"' in answer.text
