"""Impressions that were logged, from MIND's raw files through the whole pipeline to the leaderboard's format."""

import shutil
from datetime import datetime, timedelta
from pathlib import Path

import numpy as np
import polars as pl
import pytest

from recsys_text.config import Settings, load
from recsys_text.lake.store import Lake
from recsys_text.steps.inputs import inputs, lake_state
from tests.conftest import CONFIG, DAYS, START, TOPICS
from tests.pipeline.conftest import run_cli

SHOWN = 8


def write_raw_project(folder: Path, *, users: int = 40, items: int = 48, seed: int = 5) -> Path:
    """A raw MIND folder and a config. Users click what is of their topic, and now and then nothing."""
    random = np.random.default_rng(seed)
    raw = folder / "small_train"
    raw.mkdir()
    topic = np.arange(items) % len(TOPICS)
    (raw / "news.tsv").write_text(
        "".join(
            f"N{number}\tnews\t\t{' '.join(random.permutation(TOPICS[kind].split()))} {number}\t\t\t[]\t[]\n"
            for number, kind in enumerate(topic)
        )
    )
    lines = []
    for user in range(users):
        own = np.flatnonzero(topic == user % len(TOPICS))
        history = " ".join(f"N{item}" for item in random.choice(own, user % 4, replace=False))
        for _ in range(9):
            time = START + timedelta(seconds=int(random.integers(DAYS * 86_400)))
            candidates = random.choice(items, SHOWN, replace=False)
            clicks = (topic[candidates] == user % len(TOPICS)) & (random.random() > 0.1)
            shown = " ".join(f"N{item}-{int(click)}" for item, click in zip(candidates, clicks, strict=True))
            lines.append((f"{time:%m/%d/%Y %I:%M:%S %p}", f"U{user}", history, shown))
    (raw / "behaviors.tsv").write_text(
        "".join(
            f"{number}\t{user}\t{time}\t{history}\t{shown}\n"
            for number, (time, user, history, shown) in enumerate(lines, start=1)
        )
    )
    config = folder / "recsys.toml"
    sources = '[sources.impressions]\nkind = "file"\npath = "impressions.parquet"\n[candidates]'
    config.write_text(CONFIG.replace("[candidates]", sources))
    return config


@pytest.fixture(scope="session")
def logged_template(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A project made of a raw MIND folder: extracted, trained and published."""
    folder = tmp_path_factory.mktemp("logged")
    config = str(write_raw_project(folder))
    assert run_cli("mind", str(folder / "small_train"), "--out", str(folder)) == 0
    assert run_cli("run", "-c", config, "--from", "2024-04-29", "--to", "2024-05-07") == 0
    return folder


@pytest.fixture
def logged(logged_template: Path, tmp_path: Path) -> Settings:
    folder = tmp_path / "project"
    shutil.copytree(logged_template, folder)
    return load(folder / "recsys.toml")


def config_of(settings: Settings) -> str:
    return str(settings.project.root.parent / "recsys.toml")


def useful(shown: pl.DataFrame) -> pl.DataFrame:
    clicks = pl.col("clicked").list.sum()
    return shown.filter((clicks > 0) & (clicks < pl.col("clicked").list.len()))


def test_the_mind_verb_says_which_windows_to_extract(logged_template: Path, capsys: pytest.CaptureFixture[str]) -> None:
    out = logged_template / "again"
    assert run_cli("mind", str(logged_template / "small_train"), "--out", str(out)) == 0
    printed = capsys.readouterr().out
    assert "48 items" in printed
    assert "360 impressions" in printed
    assert "recsys-text extract --from 2024-04-29 --to 2024-05-07" in " ".join(printed.split())
    assert run_cli("mind", str(logged_template / "nowhere"), "--out", str(out)) == 2


def test_evaluation_ranks_what_was_shown_in_the_newest_window(logged: Settings) -> None:
    assert run_cli("evaluate", "-c", config_of(logged)) == 0
    table = pl.read_parquet(next((logged.project.root / "reports").glob("evaluation-*.parquet")))
    shown = useful(Lake(logged.lake).read("impressions", ["2024-05-06"]))
    assert table.filter(pl.col("slice") == "all")["impressions"].unique().to_list() == [len(shown)]
    assert shown["clicked"].list.sum().max() > 1, "several clicks in one impression"
    auc = table.filter((pl.col("slice") == "all") & (pl.col("metric") == "auc") & (pl.col("method") == "score"))
    assert auc["value"][0] > 0.6, "the clicks follow the text and the counts"


def test_prediction_ranks_each_impression_in_the_order_of_the_file(logged: Settings, tmp_path: Path) -> None:
    raw = tmp_path / "small_test"
    shutil.copytree(logged.project.root.parent / "small_train", raw)
    lines = (raw / "behaviors.tsv").read_text().replace("-1", "").replace("-0", "")
    (raw / "behaviors.tsv").write_text(lines)
    assert run_cli("mind", str(raw), "--out", str(tmp_path)) == 0
    scores, prediction = tmp_path / "scores.parquet", tmp_path / "new" / "prediction.txt"
    arguments = ["--out", str(scores), "--prediction", str(prediction), "-c", config_of(logged)]
    assert run_cli("rank", str(tmp_path / "unlabelled.parquet"), *arguments) == 0
    written = [line.split(" ") for line in prediction.read_text().splitlines()]
    assert [name for name, _ in written] == [line.split("\t")[0] for line in lines.splitlines()]
    by_impression = pl.read_parquet(scores).group_by("impression_id", maintain_order=True).agg("score")["score"]
    for (_, text), score in zip(written, by_impression.to_list(), strict=True):
        ranks = [int(rank) for rank in text.strip("[]").split(",")]
        assert sorted(ranks) == list(range(1, SHOWN + 1))
        assert sorted(score, reverse=True) == [score[ranks.index(rank)] for rank in range(1, SHOWN + 1)]


def test_what_is_shown_or_clicked_later_changes_no_earlier_score(logged: Settings, tmp_path: Path) -> None:
    config, folder = config_of(logged), logged.project.root.parent
    path = folder / "impressions.parquet"
    shown = pl.read_parquet(path)
    late = pl.col("shown_at") >= datetime(2024, 5, 5, 12, tzinfo=START.tzinfo)

    def scores() -> list[float]:
        assert run_cli("rank", str(tmp_path / "early.parquet"), "--out", str(tmp_path / "s.parquet"), "-c", config) == 0
        return pl.read_parquet(tmp_path / "s.parquet")["score"].to_list()

    shown.filter(~late).write_parquet(tmp_path / "early.parquet")
    before, state = scores(), lake_state(logged).digests
    flipped = pl.col("clicked").list.eval(~pl.element())
    shown.with_columns(clicked=pl.when(late).then(flipped).otherwise("clicked")).write_parquet(path)
    assert run_cli("extract", "-c", config, "--from", "2024-04-29", "--to", "2024-05-07") == 0
    after = lake_state(logged).digests
    assert after["impressions"] != state["impressions"], "a publication made of the former state is refused"
    assert after["events"] == state["events"]
    assert scores() == before


def test_a_cutoff_hides_the_impressions_behind_it(logged: Settings) -> None:
    before = datetime(2024, 5, 4, tzinfo=START.tzinfo)
    log = inputs(logged, before=before).log
    everything = Lake(logged.lake).read("impressions")
    assert len(log.logged) == everything.filter(pl.col("shown_at") < before).height
    assert len(inputs(logged).log.logged) == len(everything) == 360
