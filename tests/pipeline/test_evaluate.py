import mlflow
import polars as pl
import pytest

from recsys_text.config import Settings, load
from recsys_text.errors import UnavailableError
from recsys_text.evaluation.reliability import SCHEMA
from recsys_text.steps.evaluate import evaluate
from recsys_text.steps.inputs import tracker
from tests.pipeline.conftest import run_cli


def values(table: pl.DataFrame, part: str = "all") -> dict[str, float]:
    whole = table.filter((pl.col("slice") == part) & (pl.col("metric") == "ndcg@10"))
    return dict(whole.select("method", "value").iter_rows())


def test_every_method_is_measured_and_saved_with_its_diagram(published: Settings) -> None:
    found = evaluate(published)
    table, path = found.table, found.path
    assert set(values(table)) >= {
        "score", "interest", "popularity 24h", "recency", "item-item co-click", "TF-IDF profile", "EASE",
        "BM25 item-item", "ALS",
    }  # fmt: skip
    assert list(values(table, "as served")) == [
        "score", "score, fresh", "score, 1 h old", "score, 6 h old", "score, 24 h old",
    ]  # fmt: skip
    assert pl.read_parquet(path).equals(table)
    beside = path.with_name(path.name.replace("evaluation", "reliability"))
    assert pl.read_parquet(beside).schema == pl.Schema(SCHEMA)
    assert beside.with_suffix(".svg").read_text().startswith("<?xml")


def test_training_logs_the_diagram_beside_the_table(published: Settings) -> None:
    registry = tracker(published)
    # Not MLflow's own default, which the next project of this process would find in the environment.
    client = mlflow.MlflowClient(published.tracking_uri)
    version = client.get_model_version(published.project.name, registry.version("champion"))
    logged = {artifact.path for artifact in client.list_artifacts(version.run_id)}
    assert logged >= {"evaluation.json", "reliability.json", "reliability.svg"}


def test_a_window_is_ranked_once_for_each_user(published: Settings, monkeypatch: pytest.MonkeyPatch) -> None:
    each = evaluate(published).table
    monkeypatch.setenv("RECSYS_TEXT_EVALUATION__AT", "window")
    once = evaluate(load(published.project.root.parent / "recsys.toml")).table
    assert once["impressions"][0] == once["users"][0] == each["users"][0] < each["impressions"][0]


def test_a_table_of_80_columns(published: Settings, capsys: pytest.CaptureFixture[str]) -> None:
    assert run_cli("evaluate", "-c", str(published.project.root.parent / "recsys.toml")) == 0
    lines = capsys.readouterr().out.splitlines()
    table = lines[: next(at for at, line in enumerate(lines) if line.startswith("score "))]
    assert max(map(len, table)) <= 80
    assert any(line.startswith("24 h old") for line in lines)
    assert any(line.startswith("history_2-5") for line in lines)


def test_a_picture_that_cannot_be_written(published: Settings) -> None:
    path = evaluate(published).path
    picture = path.with_name(path.name.replace("evaluation", "reliability")).with_suffix(".svg")
    picture.unlink()
    picture.mkdir()
    with pytest.raises(UnavailableError, match="cannot write into"):
        evaluate(published)
