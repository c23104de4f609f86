from pathlib import Path

import polars as pl
import pytest

from recsys_text.cli import main
from recsys_text.config import Settings, load
from recsys_text.lake.store import Lake
from tests.pipeline.conftest import run_cli


def config_of(settings: Settings) -> str:
    return str(settings.project.root.parent / "recsys.toml")


def test_the_pipeline_goes_round(published: Settings, capsys: pytest.CaptureFixture[str]) -> None:
    config = config_of(published)
    assert run_cli("extract", "-c", config, "--window", "2024-05-06") == 0
    assert run_cli("monitor", "-c", config) == 0
    assert "ndcg@10" in capsys.readouterr().out
    quality = Lake(published.lake).read("quality", ["2024-05-06"])
    assert {"hit_rate@10", "ndcg@10", "coverage", "users"} < set(quality["metric"])
    assert run_cli("publish", "-c", config) == 0
    assert "Published 20240507T000000Z-m1-" in capsys.readouterr().out
    assert run_cli("rollback", "-c", config) == 0
    assert "20240506T000000Z-m1-" in capsys.readouterr().out
    assert run_cli("publish", "-c", config) == 0
    assert "rolled back" in capsys.readouterr().out
    assert run_cli("versions", "-c", config) == 0
    assert capsys.readouterr().out.count("yes") == 3, "one of each view"


def test_publishing_again_changes_nothing(published: Settings, capsys: pytest.CaptureFixture[str]) -> None:
    before = {path: path.stat().st_mtime_ns for path in (published.project.root / "store").rglob("*") if path.is_file()}
    assert run_cli("publish", "-c", config_of(published)) == 0
    assert "nothing changed" in capsys.readouterr().out
    after = {path: path.stat().st_mtime_ns for path in (published.project.root / "store").rglob("*") if path.is_file()}
    assert {path for path in before if "lock" not in path.name} <= set(after)
    assert all(after[path] == time for path, time in before.items() if path.suffix == ".arrow")


def test_staged_scores_are_served_by_publish(published: Settings, capsys: pytest.CaptureFixture[str]) -> None:
    config = config_of(published)
    assert run_cli("extract", "-c", config, "--window", "2024-05-06") == 0
    assert run_cli("score", "-c", config) == 0
    assert "Staged the scores of 40 users" in capsys.readouterr().out
    assert run_cli("versions", "-c", config) == 0
    assert "20240507T" not in capsys.readouterr().out
    assert run_cli("publish", "-c", config) == 0
    assert "Published 20240507T000000Z" in capsys.readouterr().out


def test_rank_keeps_the_order_of_candidates_and_scores_as_of_each_time(published: Settings, tmp_path: Path) -> None:
    impressions = pl.DataFrame(
        {
            "impression_id": ["a", "b", "c"],
            "user_id": ["u001", "u001", "nobody knows me"],
            "shown_at": ["2024-05-02T00:00:00Z", "2024-05-05T00:00:00Z", "2024-05-05T00:00:00Z"],
            "candidates": [["i003", "i001"], ["i003", "i001"], ["i002"]],
        }
    ).with_columns(pl.col("shown_at").str.to_datetime(time_zone="UTC", time_unit="us"))
    path, out = tmp_path / "impressions.parquet", tmp_path / "deep" / "scores.parquet"
    impressions.write_parquet(path)
    assert run_cli("rank", str(path), "--out", str(out), "-c", config_of(published)) == 0
    scores = pl.read_parquet(out)
    assert scores["impression_id"].to_list() == ["a", "a", "b", "b", "c"]
    assert scores["item_id"].to_list() == ["i003", "i001", "i003", "i001", "i002"]
    assert scores["score"].is_between(0, 1).all()
    assert scores["interest"].is_finite().all()
    by_time = scores.filter(pl.col("item_id") == "i003")["interest"].to_list()
    assert by_time[0] != by_time[1], "the user clicked in between"


def test_evaluate_saves_the_table_it_prints(published: Settings, capsys: pytest.CaptureFixture[str]) -> None:
    assert run_cli("evaluate", "-c", config_of(published)) == 0
    printed = capsys.readouterr().out
    saved = pl.read_parquet(next((published.project.root / "reports").glob("evaluation-*.parquet")))
    assert {"score", "interest", "popularity 2h", "recency", "pop/age", "TF-IDF profile"} <= set(saved["method"])
    assert all(method in printed for method in saved.filter(pl.col("slice") == "all")["method"].unique())
    assert "nDCG@10" in printed


def test_init_writes_a_config_that_loads_and_never_overwrites(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert run_cli("init", str(tmp_path / "new")) == 0
    assert load(tmp_path / "new" / "recsys.toml").project.name == "shop"
    assert run_cli("init", str(tmp_path / "new")) == 2
    assert "exists" in capsys.readouterr().err
    assert run_cli("init", str(tmp_path / "new" / "recsys.toml")) == 2
    assert "choose another folder" in capsys.readouterr().err


def test_help_and_version(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as stop:
        main(["--version"])
    assert not stop.value.code
    assert capsys.readouterr().out.strip() == "0.1.0"
