"""Arms of experiments: their shares, their stability and what they change."""

import math

import httpx
import pytest
import xxhash

from recsys_text.config import load
from recsys_text.errors import ConfigError
from recsys_text.sections import Experiment
from recsys_text.service.client import RankingClient
from recsys_text.service.experiments import assigned

USERS = [f"user-{number}" for number in range(20_000)]
THREE = Experiment.model_validate({"arms": {"a": {"share": 0.5}, "b": {"share": 0.3}, "c": {"share": 0.2}}})


def within(count: int, share: float, total: int) -> bool:
    """Five standard deviations of a binomial count; users and hash are fixed, so that nothing is left to chance."""
    return abs(count - share * total) < 5 * math.sqrt(total * share * (1 - share))


def test_arms_have_their_shares():
    arms = [assigned("colours", THREE, user) for user in USERS]
    for name, arm in THREE.arms.items():
        assert within(arms.count(name), arm.share, len(USERS)), name


def test_an_arm_is_the_documented_span_of_the_hash():
    for user in ["ann", "é 大", *USERS[:200]]:
        place = xxhash.xxh3_64_intdigest(f"colours\n{user}".encode()) / 2**64
        assert assigned("colours", THREE, user) == ("a" if place < 0.5 else "b" if place < 0.8 else "c")
    assert assigned("colours", THREE, "ann") == "a"


def test_shares_that_grow_keep_the_users_they_have():
    wider = Experiment.model_validate({"arms": {"a": {"share": 0.6}, "b": {"share": 0.4}}})
    for user in USERS[:2000]:
        if assigned("colours", THREE, user) == "a":
            assert assigned("colours", wider, user) == "a"


def test_experiments_split_users_independently():
    half = Experiment.model_validate({"arms": {"a": {"share": 0.5}, "b": {"share": 0.5}}})
    both = [(assigned("one", half, user), assigned("two", half, user)) for user in USERS]
    for pair in (("a", "a"), ("a", "b"), ("b", "a"), ("b", "b")):
        assert within(both.count(pair), 0.25, len(USERS)), pair


EXPERIMENTS = {
    "variety": {"arms": {"plain": {"share": 0.5}, "diverse": {"share": 0.5, "diversity": 0.7}}},
    "challenger": {"arms": {"new": {"share": 1.0, "scores": "user_scores_new"}}},
}


def test_an_arm_overrides_what_it_names(publish_all, publish, serving):
    publish_all("v1")
    users = {arm: next(user for user in USERS if _arm("variety", user) == arm) for arm in ("plain", "diverse")}
    publish("v2", {user: [("i1", 0.75, 1), ("new", 0.625, 1), ("i2", 0.5, 1)] for user in users.values()}, model="7")
    with serving(experiments=EXPERIMENTS) as url, RankingClient(url) as client:
        for arm, first in (("plain", ["i1", "new", "i2"]), ("diverse", ["i1", "i2", "new"])):
            ranking = client.rank(users[arm], ["i2", "new", "i1"], experiment="variety")
            assert ([item.item_id for item in ranking.items], ranking.arm) == (first, arm)
            assert ranking.experiment == "variety"
        # An arm that overrides nothing leaves the request as it is, and without an experiment there is no arm.
        asked = client.rank(users["plain"], ["i2", "new", "i1"], experiment="variety", diversity=0.7)
        assert [item.item_id for item in asked.items] == ["i1", "i2", "new"]
        assert client.rank(users["diverse"], ["i1"]).arm is None


def test_an_arm_ranks_by_the_scores_of_another_view_once_they_are_published(publish_all, publish, serving):
    publish_all("v1")
    with serving(experiments=EXPERIMENTS) as url, RankingClient(url) as client:
        before = client.rank("ann", ["i1", "i2"], experiment="challenger")
        assert "user_scores_new" in client.ready().reason
    publish("w1", {"ann": [("i2", 0.75, 1.0)]}, view="user_scores_new")
    with serving(experiments=EXPERIMENTS) as url, RankingClient(url) as client:
        after = client.rank("ann", ["i1", "i2"], experiment="challenger")
        plain = client.rank("ann", ["i1", "i2"])
        stamped = httpx.post(
            f"{url}/rank", json={"user_id": "ann", "candidates": [], "experiment": "challenger"}
        ).headers.get_list("X-Scores-Version")
    assert (before.arm, before.version, before.experiment) == (None, "v1", "challenger")
    assert (after.arm, after.version) == ("new", "w1")
    assert (after.items[0].score, after.items[0].source) == (0.75, "stored")
    assert (plain.version, plain.items[1].score) == ("v1", 0.5)
    assert stamped == ["w1"]


def test_an_unknown_experiment_is_refused_with_the_nearest(publish, serving):
    publish("v1")
    refused = pytest.raises(ConfigError, match="experiment: no such experiment; did you mean 'variety'")
    with serving(experiments=EXPERIMENTS) as url, RankingClient(url) as client, refused:
        client.rank("ann", [], experiment="varity")


def _arm(name: str, user: str) -> str:
    return assigned(name, Experiment.model_validate(EXPERIMENTS[name]), user)


TOML = (
    '[project]\nname = "shop"\n'
    '[sources.items]\nkind = "file"\npath = "items.parquet"\n'
    '[sources.events]\nkind = "file"\npath = "events.parquet"\n'
    "[service.experiments.variety]\n"
)


@pytest.mark.parametrize(
    ("lines", "words"),
    [
        ("arms.a = { share = 0.5 }\narms.b = { share = 0.4 }", "are 0.9 together; they must be 1"),
        ("arms.a = { share = 1, diverse = 0.2 }", "unknown key 'service.experiments.variety.arms.a.diverse'; did you"),
        ("arms.a = { share = 1, diversity = 1.0 }", "'service.experiments.variety.arms.a.diversity' = 1.0: "),
        ("", "'service.experiments.variety.arms' is missing"),
        ("arms = {}", "are 0 together; they must be 1"),
        ('arms.a = { share = 1, scores = "../x" }', "'service.experiments.variety.arms.a.scores' = '../x': "),
    ],
)
def test_an_experiment_that_cannot_be_is_refused_in_the_config(tmp_path, lines, words):
    path = tmp_path / "recsys.toml"
    path.write_text(TOML + lines)
    with pytest.raises(ConfigError) as refusal:
        load(path)
    assert words in str(refusal.value)


def test_a_config_names_experiments_and_the_environment_overrides_them(tmp_path, monkeypatch):
    path = tmp_path / "recsys.toml"
    path.write_text(TOML + 'arms.a = { share = 0.5 }\narms.b = { share = 0.5, scores = "user_scores_new" }')
    arms = load(path).service.experiments["variety"].arms
    assert list(arms) == ["a", "b"]
    assert arms["b"].scores == "user_scores_new"
    monkeypatch.setenv("RECSYS_TEXT_SERVICE__EXPERIMENTS__VARIETY__ARMS__A__DIVERSITY", "0.25")
    assert load(path).service.experiments["variety"].arms["a"].diversity == 0.25
