"""What training must not learn: from labels at random, from what is yet to come, from how things are named."""

from collections.abc import Sequence
from datetime import timedelta
from pathlib import Path

import numpy as np
import polars as pl
import pytest

from recsys_text.bundle import Bundle
from recsys_text.config import Settings, load
from recsys_text.evaluation.bootstrap import interval
from recsys_text.evaluation.metrics import evaluate
from recsys_text.fitting import fit_bundle, ranker
from recsys_text.lake.clicks import found_clicks, with_clicked
from recsys_text.lake.windows import windows_between
from recsys_text.model.checkpoint import Checkpoint
from recsys_text.model.text_model import Items, TextModel
from recsys_text.ranking.blend import Blend
from recsys_text.ranking.log import Impressions, Log, build_log
from recsys_text.ranking.logged import with_logged
from recsys_text.ranking.neighbours import Neighbours
from recsys_text.ranking.window_impressions import window_impressions
from recsys_text.steps.inputs import Inputs, bundle_path, inputs, tracker
from recsys_text.steps.train import train
from tests.conftest import DAYS, START, write_small_project
from tests.pipeline.conftest import Quiet, run_cli
from tests.pipeline.test_bundle import digests

CUTOFF = START + timedelta(days=DAYS - 2)
END = START + timedelta(days=DAYS)


@pytest.fixture(scope="module")
def project(tmp_path_factory: pytest.TempPathFactory) -> Settings:
    """A small project with all of its windows extracted, more users than the other tests need."""
    config = write_small_project(tmp_path_factory.mktemp("leaks"), users=160)
    assert run_cli("extract", "-c", str(config), "--from", f"{START:%Y-%m-%d}", "--to", f"{END:%Y-%m-%d}") == 0
    return load(config)


@pytest.fixture(scope="module")
def data(project: Settings) -> Inputs:
    return inputs(project)


@pytest.fixture(scope="module")
def events(project: Settings) -> pl.DataFrame:
    return pl.read_parquet(project.project.root.parent / "events.parquet")


def trained_on(log: Log, texts: Sequence[str], project: Settings, folder: Path) -> Bundle:
    starts = [window.start for window in windows_between(START, CUTOFF, timedelta(days=1))]
    bundle, _ = fit_bundle(
        log, texts, starts, cutoff=CUTOFF, settings=project, checkpoint=Checkpoint(folder), progress=Quiet()
    )
    return bundle


def held_out(log: Log, project: Settings) -> Impressions:
    """Each user's clicks after the cutoff, against all that they had not clicked before it."""
    return window_impressions(log, [(CUTOFF, END)], project.candidates, max_impressions=1000, seed=1)[0]


def measured(bundle: Bundle, log: Log, texts: Sequence[str], shown: Impressions) -> list[dict[str, np.ndarray]]:
    """The metrics of interest, score and score without interest."""
    said = bundle.compare(log, bundle.text.items(texts, log.item_ids), shown)
    return [evaluate(said_P, shown.clicked, shown.offsets) for said_P in said]


@pytest.mark.parametrize("at", ["click", "window"])
def test_from_clicks_at_random_nothing_is_learnt(
    project: Settings, data: Inputs, events: pl.DataFrame, tmp_path: Path, at: str
) -> None:
    project = project.model_copy(update={"evaluation": project.evaluation.model_copy(update={"at": at})})
    draw = np.random.default_rng(2)
    clicked = pl.Series(data.log.item_ids).gather(draw.integers(0, len(data.log.item_ids), len(events)))
    log = build_log(data.items, events.with_columns(item_id=clicked))
    shown = held_out(log, project)
    for found in measured(trained_on(log, data.texts, project, tmp_path), log, data.texts, shown):
        around = interval(found["auc"], shown.user, resamples=1000, seed=1)
        assert around.low < 0.5 < around.high


@pytest.mark.parametrize("at", ["click", "window"])
def test_what_comes_at_or_after_the_cutoff_changes_no_byte(
    project: Settings, data: Inputs, events: pl.DataFrame, tmp_path: Path, at: str
) -> None:
    project = project.model_copy(update={"evaluation": project.evaluation.model_copy(update={"at": at})})
    later = pl.col("occurred_at") >= CUTOFF
    users = events.filter(~later)["user_id"].unique()
    known = events.filter(pl.col("user_id").is_in(users.implode()))
    other = known.filter(later).head(60).with_columns(item_id=pl.lit("i007"), occurred_at=pl.lit(CUTOFF))
    past, found = known.filter(~later), []
    first = past.sort("occurred_at").with_row_index().filter(pl.col("index") > 0).drop("index")
    for number, parts in enumerate(([past, known.filter(later)], [past, other.cast(past.schema)], [first, other])):
        log = build_log(data.items, pl.concat(parts, how="vertical_relaxed"))
        bundle = trained_on(log, data.texts, project, tmp_path / f"checkpoint-{number}")
        bundle.save(tmp_path / str(number))
        found.append(digests(tmp_path / str(number)))
    assert found[0] == found[1]
    # One click less before it does.
    assert found[1]["neighbours.safetensors"] != found[2]["neighbours.safetensors"]


def test_late_clicks_on_what_was_shown_before_the_cutoff_change_no_byte(
    project: Settings, data: Inputs, events: pl.DataFrame, tmp_path: Path
) -> None:
    within, draw = timedelta(hours=12), np.random.default_rng(5)
    clicks = events.sort("occurred_at", "user_id").with_row_index("impression_id")
    others = pl.Series(draw.integers(0, len(data.log.item_ids), (len(clicks), 4))).cast(pl.List(pl.Int64))
    shown = clicks.select(
        pl.col("impression_id").cast(pl.String),
        "user_id",
        shown_at=pl.col("occurred_at") - pl.duration(hours=draw.integers(0, 13, len(clicks))),
        candidates=pl.concat_list(
            "item_id", others.list.eval(pl.format("i{}", pl.element().cast(pl.String).str.zfill(3)))
        ),
    ).filter(pl.col("shown_at") < CUTOFF)
    found = []
    # The clicks of the last hours before the cutoff do.
    for number, upto in enumerate((END, CUTOFF, CUTOFF - timedelta(hours=3))):
        past = events.filter(pl.col("occurred_at") < upto)
        (labelled,) = with_clicked([shown], found_clicks([shown], past, within))
        found.append(labelled)
        log = with_logged(build_log(data.items, events), labelled, settle=within)
        trained_on(log, data.texts, project, tmp_path / f"c{number}").save(tmp_path / str(number))
    assert not found[0].equals(found[1])
    saved = [digests(tmp_path / str(number)) for number in range(3)]
    assert saved[0] == saved[1]
    assert saved[1] != saved[2]


@pytest.mark.parametrize("at", ["click", "window"])
def test_calibration_is_of_users_whom_the_blend_has_not_seen(
    project: Settings, data: Inputs, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, at: str
) -> None:
    project = project.model_copy(update={"evaluation": project.evaluation.model_copy(update={"at": at})})
    fit_blend, raw_scores = ranker.fit_blend, ranker.raw_scores
    taught: set[int] = set()
    scored: set[int] = set()

    def spied_blend(
        features_PF: np.ndarray, clicked_P: np.ndarray, offsets_N1: np.ndarray, users_N: np.ndarray, **more
    ):
        taught.update(users_N.tolist())
        return fit_blend(features_PF, clicked_P, offsets_N1, users_N, **more)

    def spied_scores(
        blend: Blend, text: TextModel, neighbours: Neighbours, log: Log, items: Items, shown: Impressions
    ) -> np.ndarray:
        scored.update(shown.user.tolist())
        return raw_scores(blend, text, neighbours, log, items, shown)

    monkeypatch.setattr(ranker, "fit_blend", spied_blend)
    monkeypatch.setattr(ranker, "raw_scores", spied_scores)
    trained_on(data.log, data.texts, project, tmp_path)
    assert len(taught) > len(scored) > 10
    assert not taught & scored


def test_the_lake_of_the_test_windows_changes_no_byte(published: Settings) -> None:
    version, folder = bundle_path(published, "champion")
    config = published.project.root.parent
    cutoff = Bundle.load(folder).cutoff
    events = pl.read_parquet(config / "events.parquet")
    past, future = events.filter(pl.col("occurred_at") < cutoff), events.filter(pl.col("occurred_at") >= cutoff)
    changed = future.gather_every(2).with_columns(item_id=pl.lit("i005"), user_id=pl.lit("somebody new"))
    pl.concat([past, changed]).write_parquet(config / "events.parquet")
    assert run_cli("extract", "-c", str(config / "recsys.toml"), "--window", f"{cutoff:%Y-%m-%d}") == 0
    assert "somebody new" in inputs(published).log.user_ids
    again = train(published, cutoff=cutoff, progress=Quiet()).version
    assert again != version
    assert digests(tracker(published).bundle(again)) == digests(folder)


def test_names_change_no_figure_beyond_chance(
    project: Settings, data: Inputs, events: pl.DataFrame, tmp_path: Path
) -> None:
    draw = np.random.default_rng(4)
    found = []
    for number in range(2):
        items, users = (np.array(ids, dtype=object) for ids in (data.log.item_ids, data.log.user_ids))
        item_of, user_of = (
            dict(zip(ids, draw.permutation(ids) if number else ids, strict=True)) for ids in (items, users)
        )
        catalogue = data.items.with_columns(
            pl.col("item_id").replace_strict(item_of, return_dtype=pl.String), text=pl.Series(data.texts)
        ).sort("item_id")
        log = build_log(
            catalogue,
            events.with_columns(
                pl.col("item_id").replace_strict(item_of, return_dtype=pl.String),
                pl.col("user_id").replace_strict(user_of, return_dtype=pl.String),
            ),
        )
        texts = catalogue["text"].to_list()
        shown = held_out(log, project)
        bundle = trained_on(log, texts, project, tmp_path / str(number))
        found.append([float(np.nanmean(part["ndcg@10"])) for part in measured(bundle, log, texts, shown)])
    assert found[1] == pytest.approx(found[0], abs=0.03)
