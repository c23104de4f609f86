import io
from datetime import UTC, datetime, timedelta

import numpy as np
import polars as pl
import pytest
from rich.console import Console

from recsys_text.errors import ContractError
from recsys_text.evaluation.metrics import evaluate
from recsys_text.evaluation.table import SCHEMA, evaluation_table, render, slices, verdict
from recsys_text.ranking.log import Impressions, build_log

NUMBER, LENGTH = 300, 6


def impressions_of(number=NUMBER):
    random = np.random.default_rng(0)
    clicked = np.zeros((number, LENGTH), bool)
    clicked[np.arange(number), random.integers(LENGTH, size=number)] = True
    return Impressions(
        user=(np.arange(number) // 3).astype(np.int32),
        time=np.arange(number),
        offsets=np.arange(number + 1) * LENGTH,
        item=np.tile(np.arange(LENGTH, dtype=np.int32), number),
        clicked=clicked.ravel(),
    )


def table_of(scores, impressions, parts=None):
    everything = {"all": np.ones(len(impressions.user), bool)}
    return evaluation_table(scores, impressions, parts or everything, resamples=200, seed=1)


def noisy(impressions, noise, seed):
    """Probabilities that see the clicks through so much noise."""
    random = np.random.default_rng(seed)
    return 1 / (1 + np.exp(1 - impressions.clicked - noise * random.normal(size=len(impressions.item))))


@pytest.fixture(scope="module")
def shown():
    return impressions_of()


@pytest.fixture(scope="module")
def scores(shown):
    return {
        "score": noisy(shown, 0.5, 1),
        "interest": noisy(shown, 0.1, 2),
        "weak": noisy(shown, 2, 3),
        "chance": np.zeros(len(shown.item)),
    }


def one(table, method, metric, part="all"):
    return table.row(
        by_predicate=(pl.col("method") == method) & (pl.col("metric") == metric) & (pl.col("slice") == part), named=True
    )


def test_values_gains_and_intervals(shown, scores):
    table = table_of(scores, shown)
    assert table.schema == pl.Schema(SCHEMA)
    expected = {name: evaluate(value, shown.clicked, shown.offsets) for name, value in scores.items()}
    for method in scores:
        for metric in ("auc", "mrr", "ndcg@5", "ndcg@10", "recall@10"):
            row = one(table, method, metric)
            assert row["value"] == pytest.approx(expected[method][metric].mean())
            assert row["low"] <= row["value"] + 1e-12
            assert row["value"] <= row["high"] + 1e-12
            assert (row["impressions"], row["users"]) == (300, 100)
            if method == "score":
                assert row["gain"] is row["gain_low"] is row["gain_high"] is None
            else:
                assert row["gain"] == pytest.approx((expected["score"][metric] - expected[method][metric]).mean())
                assert row["gain_low"] <= row["gain"] + 1e-12
                assert row["gain"] <= row["gain_high"] + 1e-12


def test_gains_are_paired(shown, scores):
    row = one(table_of(scores | {"twin": scores["score"]}, shown), "twin", "ndcg@10")
    assert row["low"] < row["high"]
    assert row["gain"] == row["gain_low"] == row["gain_high"] == 0


def test_the_score_alone_has_calibration_errors(shown, scores):
    table = table_of(scores, shown)
    assert table.filter(pl.col("metric").str.starts_with("calibration"))["method"].unique().to_list() == ["score"]
    truthful = table_of({"score": np.full(len(shown.item), 1 / LENGTH)}, shown)
    assert one(truthful, "score", "calibration_error")["value"] == pytest.approx(0)
    assert one(table, "score", "calibration_error_top1%")["value"] > 0.02


def test_a_slice_measures_its_impressions_only(shown, scores):
    first = np.arange(NUMBER) < 30
    table = table_of(scores, shown, {"first": first, "none": np.zeros(NUMBER, bool)})
    row = one(table, "weak", "auc", "first")
    assert row["value"] == pytest.approx(evaluate(scores["weak"], shown.clicked, shown.offsets)["auc"][:30].mean())
    assert (row["impressions"], row["users"]) == (30, 10)
    empty = one(table, "weak", "auc", "none")
    assert (empty["value"], empty["low"], empty["gain"], empty["impressions"]) == (None, None, None, 0)


def test_the_verdict_is_for_baselines_whose_interval_is_cleared(shown, scores):
    # Interest, though better here, is a part of the score and no baseline.
    assert verdict(table_of(scores, shown)) == "score beats every baseline in nDCG@10 (95% intervals, 300 impressions)."


def test_the_verdict_names_what_is_not_beaten(shown, scores):
    equal, better = noisy(shown, 0.5, 9), noisy(shown, 0.1, 10)
    line = verdict(table_of(scores | {"equal": equal, "better": better}, shown))
    assert line.startswith("score does NOT beat: better (gain -.")
    assert ", equal (gain " in line
    assert "weak" not in line
    assert "\n" not in line


def test_a_positive_gain_without_a_clear_interval_is_not_a_win():
    shown = impressions_of(12)
    random = np.random.default_rng(3)
    base = random.random(len(shown.item))
    better = base.copy()
    better[shown.clicked & (np.arange(len(base)) < LENGTH)] = 1.0  # one impression of one user
    line = verdict(table_of({"score": better, "base": base}, shown))
    assert line.startswith("score does NOT beat: base (gain +.")


def test_the_verdict_without_evidence(shown, scores):
    nothing = impressions_of(0)
    empty = np.zeros(0)
    assert verdict(table_of({"score": empty, "weak": empty}, nothing)).startswith("There is no evidence")
    assert verdict(table_of({"score": scores["score"]}, shown)).startswith("There is no evidence")


def test_one_user_is_no_evidence_of_a_win(shown, scores):
    alone = Impressions(
        user=shown.user * 0, time=shown.time, offsets=shown.offsets, item=shown.item, clicked=shown.clicked
    )
    assert "does NOT beat: chance" in verdict(table_of({"score": scores["score"], "chance": scores["chance"]}, alone))


def test_needs_the_score(shown, scores):
    with pytest.raises(ContractError, match="methods weak lack 'score'"):
        table_of({"weak": scores["weak"]}, shown)


def test_rendering_fits_a_terminal_of_80_columns(shown, scores):
    parts = {"all": np.ones(NUMBER, bool), "new_user": np.zeros(NUMBER, bool)}
    table = table_of(scores | {"popularity all time": scores["weak"]}, shown, parts)
    console = Console(width=80, record=True, file=io.StringIO())
    console.print(render(table))
    text = console.export_text()
    row = one(table, "weak", "ndcg@10")
    value, gain = f"{row['value']:.3f}"[1:], f"{row['gain']:+.3f}".replace("0.", ".")
    line = next(line for line in text.splitlines() if line.startswith("weak"))
    assert value in line
    assert gain in line
    assert line.rstrip().endswith("]")
    assert "300 impressions" in text
    assert "0 impressions" in text.split("new_user")[1]
    named = [line.split()[0] for line in text.splitlines() if line.strip()]
    order = [name for name in named if name in scores]
    assert order == ["interest", "score", "weak", "chance"]


def test_slices_are_what_nobody_had_done_before_the_cutoff():
    start = datetime(2024, 1, 1, tzinfo=UTC)
    items = pl.DataFrame({"item_id": ["a", "b"], "known_at": [start] * 2}).with_columns(
        published_at="known_at", expires_at=pl.lit(None, pl.Datetime("us", "UTC"))
    )
    events = pl.DataFrame(
        [
            ("u", "a", "click", start + timedelta(hours=1)),
            ("v", "b", "view", start + timedelta(hours=1)),
            ("v", "b", "click", start + timedelta(hours=2)),
        ],
        schema=["user_id", "item_id", "event_type", "occurred_at"],
        orient="row",
    )
    log = build_log(items, events)
    micro = [int((start + timedelta(hours=h)).timestamp() * 1e6) for h in (1, 2, 2, 3)]
    found = slices(
        log,
        Impressions(
            user=np.array([0, 1, -1, 1], np.int32),
            time=np.array(micro),
            offsets=np.array([0, 2, 4, 6, 8]),
            item=np.array([0, 1] * 4, np.int32),
            clicked=np.array([1, 0, 0, 1, 1, 0, 0, 1], bool),
        ),
        cutoff=micro[1],
    )
    assert found["all"].tolist() == [True] * 4
    assert found["new_item"].tolist() == [False, True, False, True]
    assert found["new_user"].tolist() == [False, True, True, True]
