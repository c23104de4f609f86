"""What a user can do wrong, with its exit code and one clear line; no traceback, nothing half done."""

import errno
import os
from pathlib import Path

import polars as pl
import pytest

from recsys_text.config import Settings
from tests.pipeline.conftest import run_cli

DAY = ("--window", "2024-05-02")


def one_line(capsys: pytest.CaptureFixture[str]) -> str:
    """The error that was printed; fails unless it is a single line."""
    lines = [line for line in capsys.readouterr().err.splitlines() if line.startswith("error:")]
    assert len(lines) == 1, lines
    return lines[0]


def extract(config: Path) -> int:
    return run_cli("extract", "-c", str(config), *DAY)


def rewrite(config: Path, name: str, frame: pl.DataFrame) -> None:
    frame.write_parquet(config.parent / f"{name}.parquet")


def events(config: Path) -> pl.DataFrame:
    return pl.read_parquet(config.parent / "events.parquet")


def test_a_missing_file(small_config: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (small_config.parent / "events.parquet").unlink()
    assert extract(small_config) == 2
    assert "events.parquet" in one_line(capsys)


def test_a_missing_column(small_config: Path, capsys: pytest.CaptureFixture[str]) -> None:
    rewrite(small_config, "events", events(small_config).drop("item_id"))
    assert extract(small_config) == 3
    assert "item_id" in one_line(capsys)


def test_a_wrong_type(small_config: Path, capsys: pytest.CaptureFixture[str]) -> None:
    rewrite(small_config, "events", events(small_config).with_columns(occurred_at=pl.lit(7)))
    assert extract(small_config) == 3
    assert "occurred_at" in one_line(capsys)


def test_naive_times(small_config: Path, capsys: pytest.CaptureFixture[str]) -> None:
    naive = events(small_config).with_columns(pl.col("occurred_at").dt.replace_time_zone(None))
    rewrite(small_config, "events", naive)
    assert extract(small_config) == 3
    assert "time_zone" in one_line(capsys)


def test_an_empty_window_warns_and_min_rows_refuses(
    small_config: Path, capsys: pytest.CaptureFixture[str], caplog: pytest.LogCaptureFixture
) -> None:
    assert run_cli("extract", "-c", str(small_config), "--window", "2020-01-01") == 0
    assert any("2020-01-01" in record.getMessage() for record in caplog.records if record.levelname == "WARNING")
    text = small_config.read_text()
    small_config.write_text(text.replace('path = "events.parquet"', 'path = "events.parquet"\nmin_rows = 5'))
    capsys.readouterr()
    assert run_cli("extract", "-c", str(small_config), "--window", "2020-01-01") == 3
    assert "min_rows" in one_line(capsys)


def test_a_misspelt_key(small_config: Path, capsys: pytest.CaptureFixture[str]) -> None:
    small_config.write_text(small_config.read_text().replace("epochs = 1\npre", "epoch = 1\npre"))
    assert extract(small_config) == 2
    assert "did you mean 'training.epochs'" in one_line(capsys)


def test_an_item_without_text_is_kept_aside_and_too_many_refuse(
    small_config: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    items = pl.read_parquet(small_config.parent / "items.parquet")
    blank = items.with_columns(
        title=pl.when(pl.int_range(pl.len()) < 1).then(pl.lit("")).otherwise("title"),
        tags=pl.when(pl.int_range(pl.len()) < 1).then(pl.lit([], dtype=pl.List(pl.String))).otherwise("tags"),
    )
    rewrite(small_config, "items", blank)
    assert extract(small_config) == 0
    assert "1 has_text" in capsys.readouterr().out
    rewrite(small_config, "items", items.with_columns(title=pl.lit(" "), tags=pl.lit([], dtype=pl.List(pl.String))))
    assert extract(small_config) == 3
    assert "has_text" in one_line(capsys)


def test_a_source_that_dies_midway_leaves_the_old_window(
    small_config: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert extract(small_config) == 0
    lake = small_config.parent / "var" / "lake"
    before = {path: path.read_bytes() for path in lake.rglob("*.parquet")}
    path = small_config.parent / "events.parquet"
    content = bytearray(path.read_bytes())
    content[100 : len(content) // 2] = bytes(len(content) // 2 - 100)
    path.write_bytes(content)
    capsys.readouterr()
    assert extract(small_config) == 3
    assert "events.parquet" in one_line(capsys)
    assert {path: path.read_bytes() for path in lake.rglob("*.parquet")} == before


def test_a_full_disk_leaves_the_old_window(
    small_config: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    assert extract(small_config) == 0
    before = {path: path.read_bytes() for path in (small_config.parent / "var").rglob("*.parquet")}

    def full(_: int) -> None:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    monkeypatch.setattr(os, "fsync", full)
    capsys.readouterr()
    assert extract(small_config) == 5
    assert "No space left" in one_line(capsys)
    assert {path: path.read_bytes() for path in (small_config.parent / "var").rglob("*.parquet")} == before


def test_mlflow_is_down(
    published: Settings, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("MLFLOW_TRACKING_URI", "http://127.0.0.1:9")
    monkeypatch.setenv("MLFLOW_HTTP_REQUEST_MAX_RETRIES", "0")
    config = str(published.project.root.parent / "recsys.toml")
    assert run_cli("train", "-c", config) == 5
    assert "MLflow at http://127.0.0.1:9 is out of reach" in one_line(capsys)


def test_a_store_that_cannot_be_written_keeps_serving(
    published: Settings, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    config = str(published.project.root.parent / "recsys.toml")
    assert run_cli("extract", "-c", config, "--window", "2024-05-06") == 0
    real = os.mkdir

    def read_only(path: str, *rest: object, **named: object) -> None:
        if "store" in str(path):
            raise OSError(errno.EROFS, os.strerror(errno.EROFS), str(path))
        real(path, *rest, **named)  # type: ignore[arg-type]

    monkeypatch.setattr(os, "mkdir", read_only)
    capsys.readouterr()
    assert run_cli("publish", "-c", config) == 5
    assert "Read-only" in one_line(capsys)
    assert run_cli("versions", "-c", config) == 0
    assert "yes" in capsys.readouterr().out


def test_nothing_extracted_no_champion_no_version(small_config: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert run_cli("train", "-c", str(small_config)) == 3
    assert "recsys-text extract" in one_line(capsys)
    assert extract(small_config) == 0
    capsys.readouterr()
    assert run_cli("publish", "-c", str(small_config)) == 2
    assert "recsys-text train" in one_line(capsys)
    assert run_cli("rollback", "-c", str(small_config)) == 2
    one_line(capsys)
    assert run_cli("train", "-c", str(small_config)) == 3
    assert "extract older windows" in one_line(capsys)


@pytest.mark.parametrize(
    "arguments",
    [
        ("extract",),
        ("extract", "--window", "yesterday"),
        ("extract", "--from", "2024-05-02"),
        ("extract", "--from", "2024-05-03", "--to", "2024-05-02"),
        ("extract", "--window", "2199-01-01"),
        ("train", "--cutoff", "noon"),
        ("evaluate", "--model", "nobody"),
    ],
)
def test_bad_usage(small_config: Path, capsys: pytest.CaptureFixture[str], arguments: tuple[str, ...]) -> None:
    assert run_cli(*arguments, "-c", str(small_config)) == 2
    one_line(capsys)


def test_rank_refuses_what_it_cannot_score(published: Settings, capsys: pytest.CaptureFixture[str]) -> None:
    folder = published.project.root.parent
    config, path, out = str(folder / "recsys.toml"), folder / "impressions.parquet", folder / "scores.parquet"
    assert run_cli("rank", str(path), "--out", str(out), "-c", config) == 2
    assert "impressions.parquet" in one_line(capsys)
    good = pl.DataFrame(
        {"impression_id": ["a"], "user_id": ["u001"], "shown_at": ["2024-05-05T00:00:00Z"], "candidates": [["i000"]]}
    ).with_columns(pl.col("shown_at").str.to_datetime(time_zone="UTC", time_unit="us"))
    for frame, named in (
        (good.drop("shown_at"), "shown_at"),
        *(
            (good.with_columns(pl.lit(None, good.schema[name]).alias(name)), f"have no {name}")
            for name in good.columns[:3]
        ),
        (good.with_columns(candidates=pl.lit(["what"])), "'what'"),
        (good.with_columns(pl.col("shown_at").dt.replace_time_zone(None)), "time zone"),
    ):
        frame.write_parquet(path)
        assert run_cli("rank", str(path), "--out", str(out), "-c", config) == 3
        assert named in one_line(capsys)
    assert not out.exists()
    good.write_parquet(path)
    assert run_cli("rank", str(path), "--out", str(config) + "/scores.parquet", "-c", config) == 5
    assert "cannot write" in one_line(capsys)
