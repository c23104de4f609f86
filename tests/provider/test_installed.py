"""What Airflow finds once the package is installed: a provider, a plugin, a connection type, a DAG bundle."""

import json
from importlib.metadata import version
from pathlib import Path
from typing import Any

import jsonschema
import pytest

from recsys_text.provider import get_provider_info
from tests.provider.conftest import Airflow, run_python

HOOK = "recsys_text.provider.hook.RecsysTextHook"
LIGHT = """
import sys
import recsys_text.provider.operators, recsys_text.provider.sensor, recsys_text.provider.plugin
print([name for name in ("torch", "mlflow", "polars", "pandas", "lightgbm", "fastapi") if name in sys.modules])
import recsys_text.provider.hook
print([name for name in ("torch", "mlflow", "polars", "pandas", "lightgbm") if name in sys.modules])
"""
FORM = """
import json
from airflow.providers_manager import ProvidersManager
known = ProvidersManager()
fields = {name: field.field["schema"] for name, field in known.connection_form_widgets.items() if "recsys" in name}
print(json.dumps([fields, known.field_behaviours["recsys_text"], known.hooks["recsys_text"].hook_class_name]))
"""
BUNDLE = """
from airflow.dag_processing.bundles.manager import DagBundlesManager
bundle = DagBundlesManager().get_bundle("recsys-text")
bundle.initialize()
print(bundle.path, bundle.get_current_version())
"""
CONFIGURED = (
    '[{"name": "recsys-text", "classpath": "recsys_text.provider.dag_bundle.RecsysTextDagBundle", "kwargs": {}}]'
)


def listed(said: str) -> Any:
    """The JSON that a command of Airflow printed, after what it has logged."""
    return json.loads(said[said.index("[{") :])


def test_the_provider_is_what_airflows_schema_asks_for() -> None:
    import airflow  # noqa: PLC0415 - its home is set by now

    schema = json.loads((Path(airflow.__file__).parent / "provider_info.schema.json").read_text())
    jsonschema.validate(get_provider_info(), schema)
    # The runtime's schema lets any other key pass; this one names them all.
    known = json.loads((Path(airflow.__file__).parent / "provider.yaml.schema.json").read_text())["properties"]
    assert set(get_provider_info()) <= set(known)


def test_airflow_lists_the_provider(airflow: Airflow) -> None:
    (found,) = [
        one for one in listed(airflow("providers", "list", "-o", "json")) if one["package_name"] == "recsys-text"
    ]
    assert found["version"] == version("recsys-text")


@pytest.mark.parametrize("lazy", ["True", "False"])
def test_airflow_loads_the_plugin_once(airflow: Airflow, lazy: str) -> None:
    said = airflow("plugins", "-o", "json", AIRFLOW__CORE__LAZY_DISCOVER_PROVIDERS=lazy)
    (plugin,) = [one for one in listed(said) if one["name"] == "recsys_text"]
    assert "/recsys-text" in str(plugin["fastapi_apps"])
    assert "Recsys" in str(plugin["external_views"])
    assert "already registered" not in said


def test_the_form_of_a_connection_has_the_fields_of_a_store(installed: Path, tmp_path: Path) -> None:
    fields, form, hook = json.loads(run_python(installed, tmp_path, "-c", FORM).splitlines()[-1])
    assert {name.removeprefix("extra__recsys_text__") for name in fields} == {"folder", "database", "prefix", "tls"}
    assert form["hidden_fields"] == ["schema", "extra"]
    assert form["relabeling"]["host"] == "Redis host"
    assert hook == HOOK


def test_the_bundle_needs_no_path(installed: Path, tmp_path: Path) -> None:
    more = {"AIRFLOW__DAG_PROCESSOR__DAG_BUNDLE_CONFIG_LIST": CONFIGURED}
    path, none = run_python(installed, tmp_path, "-c", BUNDLE, **more).splitlines()[-1].rsplit(" ", 1)
    assert none == "None"
    assert Path(path).is_relative_to(installed.parents[1])
    assert (Path(path) / "publish.py").is_file()


def test_parsing_a_dag_imports_nothing_heavy(installed: Path, tmp_path: Path) -> None:
    assert run_python(installed, tmp_path, "-c", LIGHT).splitlines()[-2:] == ["[]", "[]"]
