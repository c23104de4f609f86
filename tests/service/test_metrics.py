"""What workers count: telemetry that cannot be kept never keeps one from serving."""

import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

#: As Feast does: the variable is set in a process that has loaded the library already.
SET_LATER = """
import os, sys
import prometheus_client
os.environ["PROMETHEUS_MULTIPROC_DIR"] = sys.argv[1]
from recsys_text.service.metrics import Metrics
metrics = Metrics(lambda: None)
metrics.count_error()
print(metrics.text().decode())
"""
#: A worker that may write files of so many bytes at most, asked once.
WORKER = """
import resource, sys
from fastapi.testclient import TestClient
from recsys_text.sections import Service
from recsys_text.service.server import start_app
resource.setrlimit(resource.RLIMIT_FSIZE, (int(sys.argv[2]), resource.RLIM_INFINITY))
with TestClient(start_app(sys.argv[1], Service()), base_url="http://127.0.0.1") as client:
    assert client.get("/users/ann/items").status_code == 200
    print(client.get("/metrics").text)
"""
NO_LIMIT = 1 << 40


@pytest.mark.parametrize(
    ("place", "limit", "told"),
    [
        ("cleaned/away", NO_LIMIT, None),
        ("a file/below", NO_LIMIT, "Not a directory"),
        ("full", 5_000, "File too large"),
    ],
    ids=["removed meanwhile", "cannot be made", "no room"],
)
def test_a_worker_whose_metrics_have_no_place_serves_and_counts(
    publish: Callable[..., None], folder: Path, tmp_path: Path, place: str, limit: int, told: str | None
) -> None:
    publish("v1")
    (tmp_path / "a file").touch()
    ran = subprocess.run(
        [sys.executable, "-c", WORKER, f"file:{folder}", str(limit)],
        env={**os.environ, "PROMETHEUS_MULTIPROC_DIR": str(tmp_path / place)},
        capture_output=True,
        text=True,
        check=False,
    )
    assert ran.returncode == 0, ran.stderr
    assert 'recsys_text_request_seconds_count{route="/users/{user_id}/items",status="200"} 1.0' in ran.stdout
    if told is None:
        assert list((tmp_path / place).glob("histogram_*.db"))
    else:
        assert f"cannot keep metrics in {tmp_path / place} ({told}): this worker's" in ran.stderr


def test_a_process_that_is_to_count_with_others_when_it_is_too_late_counts_for_itself(tmp_path: Path) -> None:
    ran = subprocess.run([sys.executable, "-c", SET_LATER, str(tmp_path)], capture_output=True, text=True, check=False)
    assert ran.returncode == 0, ran.stderr
    assert "recsys_text_reader_errors_total 1.0" in ran.stdout
