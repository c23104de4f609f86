import io
from dataclasses import replace

import numpy as np
import polars as pl
import pytest
from rich.console import Console

from recsys_text.evaluation.measure import AS_SERVED
from recsys_text.evaluation.table import render, verdict
from recsys_text.ranking.log import Impressions
from tests.evaluation.conftest import LENGTH, NUMBER, impressions_of, noisy, one, table_of


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


@pytest.mark.parametrize(("users", "named"), [(400, True), (150, False)])
def test_the_verdict_names_slices_of_many_users_in_which_a_baseline_is_better(users, named):
    shown = impressions_of(2 * users)
    shown = replace(shown, user=np.repeat(np.arange(users), 2).astype(np.int32))
    second_P = np.arange(2 * users)[shown.row] % 2 == 1
    score, exact = noisy(shown, 0.5, 1), shown.clicked.astype(float)
    methods = {"score": score, "half": np.where(second_P, exact, 0), "other half": np.where(second_P, 0, exact)}
    parts = {"all": np.ones(2 * users, bool), "new_user": np.arange(2 * users) % 2 == 1}
    line = verdict(table_of(methods, shown, parts))
    assert ("A simple method is better in these slices: new_user (half, gain -." in line) == named
    assert "(other half" not in line.partition("slices:")[2]


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


def printed(table):
    console = Console(width=80, record=True, file=io.StringIO())
    console.print(render(table))
    return "\n".join(line.rstrip() for line in console.export_text().splitlines())


def number(value, sign=""):
    return f"{value:{sign}.3f}".replace("0.", ".", 1)


def test_rendering_fits_a_terminal_of_80_columns(shown, scores):
    parts = {
        "all": np.ones(NUMBER, bool),
        "history_over_20": np.arange(NUMBER) < 30,
        "category: " + 30 * "x": shown.user < 2,
    }
    served = {"score, fresh": scores["weak"], "score, 24 h old": scores["chance"]}
    table = pl.concat(
        [
            table_of(scores | {"category popularity": scores["weak"]}, shown, parts),
            table_of({"score": scores["score"]} | served, shown, {AS_SERVED: np.ones(NUMBER, bool)}),
        ]
    )
    text = printed(table)
    assert "…" not in text.split("by slice")[0]
    whole, aged, sliced, defined = text.split("\n\n")
    assert defined.splitlines()[1:] == ["  history_over_20: a user with more than 20 clicks by then"]
    assert whole.splitlines()[0] == "300 impressions of 100 users, with 95% intervals over users"
    named = [line.split("  ")[0].split(" .")[0].strip() for line in whole.splitlines()[3:]]
    assert named[:2] == ["interest", "score"]
    assert sorted(named[2:4]) == ["category popularity", "weak"]
    assert named[4] == "chance"
    row = one(table, "weak", "ndcg@10")
    line = next(line for line in whole.splitlines() if line.startswith("weak"))
    assert f"{number(row['value'])} [{number(row['low'])}, {number(row['high'])}]" in line
    assert f"{number(row['gain'], '+')} [{number(row['gain_low'], '+')}, {number(row['gain_high'], '+')}]" in line
    assert aged.splitlines()[0] == "The score when it is made sooner or later, on 300 impressions"
    assert [line.split("  ")[0].split(" .")[0].strip() for line in aged.splitlines()[3:]] == [
        "published",
        "fresh",
        "24 h old",
    ]
    line = next(line for line in sliced.splitlines() if line.startswith("history_over_20"))
    best = max(("weak", "chance"), key=lambda name: one(table, name, "ndcg@10", "history_over_20")["value"])
    row = one(table, best, "ndcg@10", "history_over_20")
    assert " 30 " in line
    assert number(row["value"]) in line
    assert line.rstrip().endswith(f"{number(row['gain_high'], '+')}]")


@pytest.mark.parametrize(("without", "said"), [("weak", "The texts add to it"), ("score", "The texts add nothing")])
def test_the_verdict_says_what_the_texts_add(shown, scores, without, said):
    table = table_of(scores | {"score without interest": scores[without]}, shown)
    assert said in verdict(table)
    assert "score without interest" not in verdict(table)


def test_one_slice_and_no_age_make_one_table(shown, scores):
    assert len(printed(table_of(scores, shown)).strip().split("\n\n")) == 1


@pytest.mark.parametrize(("served", "fresh", "said"), [("weak", "score", True), ("score", "score", False)])
def test_the_verdict_says_where_publishing_more_often_would_gain(shown, scores, served, fresh, said):
    table = table_of({"score": scores[served], "score, fresh": scores[fresh], "chance": scores["chance"]}, shown)
    assert ("schedule.refresh" in verdict(table)) == said
