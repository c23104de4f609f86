import numpy as np
import polars as pl
import pytest

from recsys_text.errors import ContractError
from recsys_text.evaluation.lists import Catalogue, surprise
from recsys_text.evaluation.measure import SCHEMA, baselines, evaluation_table
from recsys_text.evaluation.metrics import METRICS, evaluate
from recsys_text.ranking.log import Impressions
from tests.evaluation.conftest import LENGTH, NUMBER, one, table_of


def test_values_gains_and_intervals(shown, scores):
    table = table_of(scores, shown)
    assert table.schema == pl.Schema(SCHEMA)
    expected = {name: evaluate(value, shown.clicked, shown.offsets) for name, value in scores.items()}
    for method in scores:
        for metric in METRICS:
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


def test_the_score_alone_and_what_was_served_of_it_have_calibration_errors(shown, scores):
    served = np.where(np.arange(len(shown.item)) % 7 == 0, -1, scores["score"])
    table = table_of(scores | {"score, 6 h old": served}, shown)
    errors = table.filter(pl.col("metric").str.starts_with("calibration"))
    assert sorted(errors["method"].unique()) == ["score", "score, 6 h old"]
    assert (
        one(table, "score, 6 h old", "calibration_error")["value"] != one(table, "score", "calibration_error")["value"]
    )
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


def test_needs_the_score(shown, scores):
    with pytest.raises(ContractError, match="methods weak lack 'score'"):
        table_of({"weak": scores["weak"]}, shown)


def test_the_first_ten_have_coverage_diversity_and_novelty(shown, scores):
    table = table_of(scores, shown)
    for method in scores:
        assert one(table, method, "coverage@10")["value"] == 1  # all six candidates are among the first ten
        assert one(table, method, "diversity@10")["value"] == pytest.approx(1)
        assert one(table, method, "novelty@10")["value"] == pytest.approx(np.log2(6))


def test_coverage_is_of_the_slice(shown, scores):
    # Twelve candidates an impression; in the first half everyone is shown the same ten.
    items = np.tile(np.arange(12, dtype=np.int32), 4)
    wide = Impressions(
        user=np.arange(4, dtype=np.int32),
        time=np.zeros(4, int),
        offsets=np.arange(5) * 12,
        item=items,
        clicked=items == 0,
    )
    ahead = np.concatenate([12 - items[:24], items[24:]]) / 12
    known = Catalogue(neutral=np.arange(12), vectors=np.eye(12, dtype=np.float32), surprise=surprise(np.zeros(12, int)))
    parts = {"all": np.ones(4, bool), "first": np.arange(4) < 2}
    table = evaluation_table({"score": ahead}, wide, parts, known, resamples=10, seed=1)
    assert one(table, "score", "coverage@10")["value"] == 1
    assert one(table, "score", "coverage@10", "first")["value"] == pytest.approx(10 / 12)


def test_baselines_are_neither_the_score_nor_its_parts(shown, scores):
    table = table_of(scores | {"score, 1 h old": scores["weak"], "score without interest": scores["weak"]}, shown)
    assert baselines(table)["method"].to_list() == ["weak", "chance"]
