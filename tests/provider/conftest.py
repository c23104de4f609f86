"""An environment in which the package is installed beside Airflow, as `pip install` leaves it, and its Airflow."""

import os
import subprocess
import sys
import sysconfig
import venv
from collections.abc import Callable
from pathlib import Path

import pytest

import tests.dags.conftest  # noqa: F401 - gives Airflow a home of its own before anything imports it
from tests.test_install import ROOT, uv

Airflow = Callable[..., str]


@pytest.fixture(scope="session")
def installed(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The Python of an environment that has the built wheel, and everything else of this one but the checkout."""
    folder = tmp_path_factory.mktemp("installed")
    venv.create(folder / "venv", symlinks=True, with_pip=False)
    python = folder / "venv" / "bin" / "python"
    packages = folder / "venv" / "lib" / f"python3.{sys.version_info.minor}" / "site-packages"
    for package in Path(sysconfig.get_path("purelib")).iterdir():
        if "recsys_text" not in package.name and not (packages / package.name).exists():
            (packages / package.name).symlink_to(package)
    uv("build", "--wheel", "--out-dir", folder, ROOT)
    uv("pip", "install", "--python", python, "--no-deps", *folder.glob("*.whl"))
    return python


def environment(home: Path, **more: str) -> dict[str, str]:
    """What a process of that Airflow finds in its environment: nothing of this checkout."""
    clean = {name: value for name, value in os.environ.items() if name != "PYTHONPATH" and "AIRFLOW" not in name}
    own = {"AIRFLOW_HOME": str(home), "AIRFLOW__CORE__LOAD_EXAMPLES": "False", "MLFLOW_DISABLE_TELEMETRY": "true"}
    return clean | own | more


@pytest.fixture
def airflow(installed: Path, tmp_path: Path) -> Airflow:
    """airflow("providers", "list"): what the command says, with a home and an empty folder of its own."""

    def run(*arguments: str, **more: str) -> str:
        return run_python(installed, tmp_path, "-m", "airflow", *arguments, **more)

    return run


def run_python(python: Path, home: Path, *arguments: str, **more: str) -> str:
    """What it prints; the test fails where it fails."""
    done = subprocess.run(
        [python, *arguments],
        env=environment(home, **more),
        cwd=home,
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout
