import hashlib
import shutil
import subprocess
import sys
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Literal
from unittest import mock

import numpy as np
import polars as pl
import pytest
import torch
from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st

from recsys_text import following
from recsys_text.bundle import Bundle
from recsys_text.config import Settings
from recsys_text.errors import ConfigError, ContractError
from recsys_text.event_types import EVENT_TYPES
from recsys_text.ranking.log import Impressions, build_log, micros
from recsys_text.steps.inputs import Inputs, bundle_path, tracker
from recsys_text.steps.train import train
from tests.conftest import DAYS, START
from tests.pipeline.conftest import Quiet


def digests(folder: Path) -> dict[str, str]:
    files = sorted(path for path in folder.rglob("*") if path.is_file())
    return {str(path.relative_to(folder)): hashlib.sha256(path.read_bytes()).hexdigest() for path in files}


def test_the_same_seed_gives_the_same_bundle(published: Settings) -> None:
    first = bundle_path(published, "champion")[1]
    again = train(published, progress=Quiet())
    assert digests(tracker(published).bundle(again.version)) == digests(first)


def test_another_seed_gives_another_bundle(published: Settings) -> None:
    other = published.model_copy(update={"training": published.training.model_copy(update={"seed": 8})})
    first = digests(bundle_path(published, "champion")[1])
    again = digests(tracker(published).bundle(train(other, progress=Quiet()).version))
    assert again["model.safetensors"] != first["model.safetensors"]


def test_mlflow_loads_the_champion_in_a_fresh_process(published: Settings) -> None:
    code = """
import os, sys
import mlflow, pandas as pd
mlflow.set_tracking_uri(sys.argv[1])
model = mlflow.pyfunc.load_model("models:/small@champion")
frame = pd.DataFrame([
    {"history": ["sailing boat"], "candidates": ["harbour boat", "violin opera", "never seen before"]},
    {"history": [], "candidates": ["harbour boat"]},
])
out = model.predict(frame)
assert [len(row) for row in out["interest"]] == [3, 1], out
assert all(0 < value < 1 for row in out["score"] for value in row), out
known = frame.assign(clicks_24h=[[50.0, 0.0, 0.0], [0.0]], clicks_total=[[90.0, 0.0, 0.0], [0.0]])
assert model.predict(known)["score"][0] != out["score"][0]
assert model.metadata.signature.inputs.input_names()[:2] == ["history", "candidates"]
print("scored")
"""
    done = subprocess.run(
        [sys.executable, "-c", code, published.tracking_uri], capture_output=True, text=True, check=False
    )
    assert done.stdout.strip().endswith("scored"), done.stderr[-2000:]


def scores_at(
    bundle: Bundle, data: Inputs, events: pl.DataFrame, time: datetime, at: Literal["click", "window"] = "click"
) -> dict[tuple[str, str], tuple[float, float]]:
    """Interest and score by user and item, as of `time`, for two users with a history and one without."""
    log = build_log(data.items, events)
    users = log.user_codes(pl.Series(["u000", "u007", "nobody"]))
    items = np.arange(len(log.item_ids), dtype=np.int32)
    impressions = Impressions(
        user=users,
        time=np.full(len(users), micros(time), dtype=np.int64),
        offsets=np.arange(len(users) + 1, dtype=np.int64) * len(items),
        item=np.tile(items, len(users)),
        clicked=np.zeros(len(users) * len(items), dtype=np.bool_),
    )
    known = bundle.text.items(data.texts, log.item_ids)
    with mock.patch.object(following, "MOST", 24):  # few enough that some are drawn
        bundle = following.followed(
            replace(bundle, at=at), log, known, impressions.time, windows=data.spans, refresh=None, seed=7
        )
    interest_P, score_P = bundle.score(log, known, impressions)
    keys = [(user, item) for user in ("u000", "u007", "nobody") for item in log.item_ids]
    return dict(zip(keys, zip(interest_P.tolist(), score_P.tolist(), strict=True), strict=True))


moments = st.integers(0, DAYS * 86_400_000_000).map(lambda micro: START + timedelta(microseconds=micro))


@settings(max_examples=25, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
# Where calibration follows, between two looks and after the end of a window; all that comes later is gone.
@example(time=START + timedelta(days=4, hours=10, minutes=40), added=[], keep=0.0, at="click")
@example(time=START + timedelta(days=5, hours=6), added=[], keep=0.0, at="click")
@example(time=START + timedelta(days=4, hours=23), added=[], keep=0.0, at="window")
@given(
    time=moments,
    added=st.lists(
        st.tuples(
            st.sampled_from(["u000", "u007", "nobody", "a stranger", "zz"]),
            st.integers(0, 47).map(lambda number: f"i{number:03d}"),
            st.sampled_from(EVENT_TYPES),
            st.integers(0, 10_000_000),
        ),
        max_size=30,
    ),
    keep=st.floats(0, 1),
    at=st.sampled_from(["click", "window"]),
)
def test_no_event_at_or_after_t_changes_an_interest_or_a_score_at_t(
    trained: tuple[Bundle, Inputs],
    published_template: Path,
    time: datetime,
    added: list[tuple[str, str, str, int]],
    keep: float,
    at: Literal["click", "window"],
) -> None:
    bundle, data = trained
    events = pl.read_parquet(published_template / "events.parquet")
    before = events.filter(pl.col("occurred_at") < time)
    after = events.filter(pl.col("occurred_at") >= time).sample(fraction=keep, seed=1)
    rows = [(user, item, kind, time + timedelta(microseconds=late)) for user, item, kind, late in added]
    changed = pl.concat([before, after, pl.DataFrame(rows, schema=events.schema, orient="row")])
    assert scores_at(bundle, data, changed, time, at) == scores_at(bundle, data, events, time, at)


def test_an_event_just_before_t_does_change_the_scores(
    trained: tuple[Bundle, Inputs], published_template: Path
) -> None:
    bundle, data = trained
    events = pl.read_parquet(published_template / "events.parquet")
    time = datetime(2024, 5, 4, tzinfo=UTC)
    click = pl.DataFrame(
        [("u000", "i001", "click", time - timedelta(microseconds=1))], schema=events.schema, orient="row"
    )
    assert scores_at(bundle, data, pl.concat([events, click]), time) != scores_at(bundle, data, events, time)


def test_neither_parts_nor_the_mode_of_the_network_change_a_score(
    trained: tuple[Bundle, Inputs], published_template: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    bundle, data = trained
    events = pl.read_parquet(published_template / "events.parquet")
    time = datetime(2024, 5, 4, tzinfo=UTC)
    whole, threads = scores_at(bundle, data, events, time), torch.get_num_threads()
    monkeypatch.setattr("recsys_text.bundle.CHUNK", 8)
    bundle.text.network.train()
    try:
        for _ in range(5):
            parts = scores_at(bundle, data, events, time)
            assert np.array(list(parts.values())) == pytest.approx(np.array(list(whole.values())), abs=1e-5)
        assert bundle.text.network.training
    finally:
        bundle.text.network.eval()
    assert torch.get_num_threads() == threads


@pytest.mark.parametrize(
    "name",
    [
        "bundle.json",
        "tokenizer.json",
        "blend-0.txt",
        "blend-0.safetensors",
        "blend.json",
        "calibrator.json",
        "model.safetensors",
    ],
)
def test_a_damaged_bundle_says_so(published: Settings, tmp_path: Path, name: str) -> None:
    folder = tmp_path / "bundle"
    shutil.copytree(bundle_path(published, "champion")[1], folder)
    content = (folder / name).read_bytes()
    (folder / name).write_bytes(content[: len(content) // 3])
    with pytest.raises(ContractError, match="damaged"):
        Bundle.load(folder)
    (folder / name).unlink()
    with pytest.raises((ContractError, ConfigError), match=r"damaged|no bundle"):
        Bundle.load(folder)
