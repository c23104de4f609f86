"""What a base install can do: everything that reads scores, without torch, MLflow and Airflow."""

import os
import subprocess
import sys
import zipfile
from pathlib import Path

import pytest
from uv import find_uv_bin

ROOT = Path(__file__).resolve().parents[1]
# What uv says where no package index answers, and where it was told to ask none.
UNREACHABLE = ("error sending request", "the network was disabled")

HEAVY = ("torch", "mlflow", "airflow", "lightgbm", "sklearn", "tokenizers", "fastapi", "uvicorn", "redis")

BLOCKED = f"""
import sys
for name in {HEAVY!r}:
    sys.modules[name] = None  # importing it now fails as if it were not installed
"""


def run(code: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run([sys.executable, "-c", BLOCKED + code], capture_output=True, text=True, check=False)


def test_the_store_and_the_client_import_from_a_base_install() -> None:
    done = run("import feature_store, recsys_text.service.client; print('imported')")
    assert done.stdout.strip() == "imported", done.stderr


def test_the_command_line_answers_from_a_base_install() -> None:
    done = run("from recsys_text.cli import main; main(['--help'])")
    assert "rollback" in done.stdout, done.stderr


def test_the_store_has_a_command_line_in_a_base_install() -> None:
    done = run("from feature_store.cli import main; main(['--help'])")
    assert "verify" in done.stdout, done.stderr


def test_the_command_line_says_which_extra_is_missing(small_config: Path) -> None:
    for command, extra in (("serve", "serve"), ("train", "train")):
        done = run(f"from recsys_text.cli import main; main(['{command}', '-c', {str(small_config)!r}])")
        assert done.returncode == 2
        assert f"recsys-text[{extra}]" in done.stderr
        assert "Traceback" not in done.stderr


def test_a_store_in_redis_says_which_extra_is_missing() -> None:
    done = run("import feature_store; feature_store.open_store('redis://localhost/0')")
    assert "recsys-text[redis]" in done.stderr.splitlines()[-1]


def uv(*arguments: str | Path) -> None:
    """Runs uv; skips the test where no package index is reachable."""
    command = [find_uv_bin(), *map(str, arguments)]
    places = {"UV_FIND_LINKS": ",".join(os.environ.get("PIP_FIND_LINKS", "").split())}
    done = subprocess.run(command, env=places | os.environ, capture_output=True, text=True, check=False)
    if done.returncode and any(words in done.stderr for words in UNREACHABLE):
        pytest.skip(f"no package index is reachable: {done.stderr.strip().splitlines()[-1]}")
    assert done.returncode == 0, done.stderr


def test_a_wheel_installs_alone_and_works(tmp_path: Path) -> None:
    uv("build", "--wheel", "--out-dir", tmp_path, ROOT)
    (wheel,) = tmp_path.glob("*.whl")
    packed = set(zipfile.ZipFile(wheel).namelist())
    assert {f"recsys_text/provider/dags/{dag.name}" for dag in (ROOT / "dags").glob("*.py")} <= packed
    assert {"recsys_text/template.toml", "feature_store/__init__.py"} <= packed
    explorer = ROOT / "recsys_text" / "service" / "explore"
    pages = {explorer / "style.css", *(explorer / "templates").glob("*.html")}
    assert len(pages) > 5
    assert {page.relative_to(ROOT).as_posix() for page in pages} <= packed

    uv("venv", "--python", sys.executable, tmp_path / "venv")
    programs = tmp_path / "venv" / "bin"
    uv("pip", "install", "--python", programs / "python", "-c", ROOT / "constraints.txt", wheel)
    asked = f"""
import importlib.util
import feature_store, recsys_text.service.client
from recsys_text.provider import dags_folder
print([name for name in {HEAVY!r} if importlib.util.find_spec(name)])
print(dags_folder())
"""
    # Isolated, so that neither the checkout nor PYTHONPATH can stand in for what was installed.
    done = subprocess.run(
        [programs / "python", "-I", "-c", asked], cwd=tmp_path, capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr
    found, folder = done.stdout.splitlines()
    assert found == "[]"
    assert Path(folder).is_relative_to(tmp_path)
    assert (Path(folder) / "extract.py").is_file()
    done = subprocess.run(
        [programs / "recsys-text", "--help"], cwd=tmp_path, capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr
    assert "rollback" in done.stdout
    done = subprocess.run([programs / "feature_store", "ls", "file:none"], capture_output=True, text=True, check=False)
    assert (done.returncode, done.stdout) == (2, "")
    assert "holds no view" in done.stderr
