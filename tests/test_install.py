"""What a base install can do: everything that reads scores, without torch, MLflow and Airflow."""

import subprocess
import sys
from pathlib import Path

HEAVY = ("torch", "mlflow", "airflow", "lightgbm", "sklearn", "tokenizers", "fastapi", "uvicorn")

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


def test_the_command_line_says_which_extra_is_missing(small_config: Path) -> None:
    for command, extra in (("serve", "serve"), ("train", "train")):
        done = run(f"from recsys_text.cli import main; main(['{command}', '-c', {str(small_config)!r}])")
        assert done.returncode == 2
        assert f"recsys-text[{extra}]" in done.stderr
        assert "Traceback" not in done.stderr
