from pathlib import Path

import numpy as np
import polars as pl
import pytest

from benchmarks.logs import Clicks
from benchmarks.quality_lib import cache
from benchmarks.quality_lib.bars import bars
from benchmarks.quality_lib.cold import Split
from benchmarks.quality_lib.values import Values, averaged, joined, measured, pooled, rows
from recsys_text.ranking.candidates import histories
from recsys_text.ranking.log import Impressions


def impressions(users: int, items: int, clicked: list[int]) -> Impressions:
    clicked_UI = np.zeros((users, items), np.bool_)
    clicked_UI[np.arange(users), clicked] = True
    return Impressions(
        user=np.arange(users, dtype=np.int32),
        time=np.zeros(users, np.int64),
        offsets=np.arange(users + 1) * items,
        item=np.tile(np.arange(items, dtype=np.int32), users),
        clicked=clicked_UI.ravel(),
    )


def test_a_finished_step_is_not_worked_again_and_a_stopped_one_leaves_no_result(tmp_path: Path) -> None:
    steps, done = cache.Cache(root=tmp_path), []

    def work(folder: Path) -> dict[str, int]:
        done.append(folder)
        (folder / "file").write_text("found")
        return {"figure": 3}

    def stopped(folder: Path) -> None:
        (folder / "file").write_text("half")
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        steps.step("fit", {"seed": 7}, stopped)
    assert list(tmp_path.iterdir()) == []
    folder = steps.step("fit", {"seed": 7}, work)
    assert steps.step("fit", {"seed": 7}, work) == folder
    assert len(done) == 1
    assert (folder / "file").read_text() == "found"
    assert cache.about_of(folder)["figure"] == 3
    assert [about["depends"] for about in steps.used] == [{"seed": 7}, {"seed": 7}]
    assert steps.step("fit", {"seed": 8}, work) != folder


def test_code_that_is_not_there_is_an_error() -> None:
    assert cache.code(("model",)) != cache.code(("ranking",))
    with pytest.raises(FileNotFoundError):
        cache.code(("model/no_such_file.py",))


def test_values_are_kept_joined_and_averaged_over_the_seeds_that_know_them(tmp_path: Path) -> None:
    shown = impressions(3, 4, [0, 1, 2])
    first = np.tile([4.0, 3.0, 2.0, 1.0], 3)
    values = measured(shown, {"one": first}, ("ndcg@10",), {"all": np.ones(3, np.bool_)})
    values.save(tmp_path)
    again = Values.load(tmp_path)
    ideal = 1 / np.log2([2, 3, 4])
    np.testing.assert_allclose(again.found["one", "ndcg@10"], ideal)
    assert again.slices["all"].all()
    both = joined([again, again])
    assert both.users.tolist() == [0, 1, 2, 0, 1, 2]
    other = measured(shown, {"one": -first, "bar": first}, ("ndcg@10",))
    found, seeds = averaged([again, other])
    np.testing.assert_allclose(found["one", "ndcg@10"], (ideal + 1 / np.log2([5, 4, 3])) / 2)
    assert seeds == {"one": 2, "bar": 1}
    table = rows("d", "p", found, again.users, seeds, differences=[("one", "bar")])
    assert [(row[2], row[7]) for row in table] == [("one", 2), ("bar", 1), ("one - bar", 2)]
    assert table[2][4] == pytest.approx(table[0][4] - table[1][4])
    few = rows("d", "p", found, again.users, seeds, chosen_N=np.array([True, False, False]))
    assert few[1][4:7] == (1.0, None, None)


def test_pooled_parts_count_alike_however_long_they_are() -> None:
    values = pooled([np.array([1.0, 3.0]), np.array([8.0, 8.0, 8.0, 8.0, 8.0, 8.0])])
    assert len(values) == 8
    assert values.mean() == pytest.approx((2 + 8) / 2)


def catalogue() -> Clicks:
    """Users like even or odd items, whose texts say which they are; item 3 and 13 are cold."""
    items = pl.DataFrame({"item_id": [str(n) for n in range(20)]}).with_columns(
        text=pl.Series([f"{('even', 'odd')[n % 2]} {('calm', 'wild')[n % 2]} word{n}" for n in range(20)])
    )
    random = np.random.default_rng(1)
    pairs = [(user, item) for user in range(30) for item in range(user % 2, 20, 2) if random.random() < 0.7]
    clicks = pl.DataFrame(
        {
            "user_id": [f"u{user}" for user, _ in pairs],
            "item_id": [str(item) for _, item in pairs],
            "order": random.permutation(len(pairs)),
        }
    )
    return Clicks(items=items, clicks=clicks)


def test_no_training_sees_a_cold_item_and_histories_are_all_else() -> None:
    clicks = catalogue()
    split = Split(clicks=clicks, modulus=10, residue=3)
    assert not {"3", "13"} & set(split.warm.log.item_ids)
    assert not [text for text in split.warm.texts if text.endswith(("word3", "word13"))]
    shown, log = split.impressions, split.whole.log
    assert {log.item_ids[item] for item in shown.item} == {"3", "13"}
    for row, user in enumerate(shown.user):
        own = clicks.clicks.filter(pl.col("user_id") == log.user_ids[user])
        tests = set(own["item_id"]) & {"3", "13"}
        here = slice(shown.offsets[row], shown.offsets[row + 1])
        assert {log.item_ids[item] for item in shown.item[here][shown.clicked[here]]} == tests != set()
        history = [log.item_ids[item] for item in histories(log, shown.user, shown.time, 30)[row] if item >= 0]
        assert history == [item for item in own.sort("order")["item_id"] if item not in tests]
    # The same click has the same time in both, so that what one stops at is what the other ends with.
    assert split.warm.events.sort("occurred_at").equals(split.whole.events.sort("occurred_at"))


def test_the_bars_rank_what_is_like_the_users_clicks_first() -> None:
    clicks = catalogue()
    split = Split(clicks=clicks, modulus=10, residue=3)
    log = split.whole.log
    everybody = np.arange(len(log.user_ids), dtype=np.int32)
    cold = np.array([log.item_ids.index("3"), log.item_ids.index("12")], np.int32)
    warm = Split(
        clicks=Clicks(items=clicks.items, clicks=clicks.clicks.filter(pl.col("item_id") != "12")), modulus=10, residue=3
    )
    log = warm.whole.log
    shown = Impressions(
        user=everybody,
        time=np.full(len(everybody), split.impressions.time[0]),
        offsets=np.arange(len(everybody) + 1) * 2,
        item=np.tile(cold, len(everybody)),
        clicked=np.zeros(2 * len(everybody), np.bool_),
    )
    odd = np.array([int(name[1:]) % 2 == 1 for name in log.user_ids])
    for name, score_P in bars(log, warm.whole.texts, shown).items():
        score_U2 = score_P.reshape(-1, 2)
        assert ((score_U2[:, 0] > score_U2[:, 1]) == odd).all(), name
