"""The small inputs of people in the folder beside the data, as a whole: each is read right, or one line says why not.

What each kind should give is tested kind by kind elsewhere; this finds what nobody thought of.
"""

import os
import shutil
from pathlib import Path

import pytest

from tests.pipeline.conftest import run_cli

CASES = Path(os.environ.get("RECSYS_TEXT_DATA", "/nowhere")).parent / "cases" / "ingest"
FOLDERS = sorted(folder.name for folder in CASES.glob("*/") if (folder / "recsys.toml").exists())


@pytest.mark.skipif(not FOLDERS, reason="RECSYS_TEXT_DATA names no folder with cases beside it")
@pytest.mark.parametrize("case", FOLDERS or ["none"])
def test_a_case_is_read_or_refused_in_one_line(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch, case: str
) -> None:
    folder = tmp_path / case
    shutil.copytree(CASES / case, folder)
    monkeypatch.setenv("CASE", str(folder))
    config = str(folder / "recsys.toml")
    for command in (["extract", "--from", "2026-10-01", "--to", "2026-10-03"], ["check"]):
        code = run_cli(command[0], "-c", config, *command[1:])
        told = capsys.readouterr().err
        assert code in (0, 2, 3), told
        assert "Traceback" not in told
        lines = [line for line in told.splitlines() if line.startswith("error: ")]
        assert len(lines) == (1 if code else 0), told
        if code:
            return
