"""The challenger's scores beside those that are served: made alike, apart from them, and served to an arm alone."""

from dataclasses import replace
from pathlib import Path

import pytest
from fastapi.testclient import TestClient

from recsys_text.bundle import Bundle
from recsys_text.config import Settings, load
from recsys_text.errors import ContractError
from recsys_text.publications import SCORES, SHADOW
from recsys_text.ranking.features import COUNTS
from recsys_text.service.app import create_app
from recsys_text.steps.inputs import the_store, tracker
from recsys_text.steps.publish import VIEWS, publish
from recsys_text.steps.score import score_bucket
from recsys_text.steps.shadow import publish_shadow, shadow_begin, shadow_commit
from recsys_text.steps.vectors import write_items
from tests.pipeline.conftest import run_cli


def config_of(settings: Settings) -> str:
    return str(settings.project.root.parent / "recsys.toml")


@pytest.fixture
def challenged(published: Settings, tmp_path: Path) -> Settings:
    """A project with a challenger that orders everything the other way round."""
    registry, folder = tracker(published), tmp_path / "bundle"
    champion = Bundle.load(registry.bundle("1"))
    first, second = champion.blend.spreads
    replace(champion, blend=replace(champion.blend, spreads=(-first, -second))).save(folder)
    with registry.run(params={}, datasets={}):
        registry.set_alias(
            "challenger", registry.register(folder, {"history": ["boat"], "candidates": ["rose"]}, COUNTS)
        )
    return published


def served(settings: Settings) -> dict[str, str | None]:
    with the_store(settings) as store:
        return {view: store.current(view) for view in (*VIEWS, SHADOW)}


def listed(settings: Settings, view: str) -> list[str]:
    with the_store(settings) as store:
        return [info.version for info in store.versions(view)]


def test_a_shadow_is_scored_as_its_model_would_be_served(challenged: Settings) -> None:
    before = served(challenged)
    result = publish_shadow(challenged)
    assert (result["swapped"], result["users"], result["pairs"]) == (True, 40, 400)
    assert served(challenged) == before | {SHADOW: result["version"]}
    assert "-m2-" in result["version"]
    tracker(challenged).set_alias("champion", "2")
    champion = publish(challenged)
    assert champion["version"] == result["version"], "made of the same"
    with the_store(challenged) as store:
        users = [f"u{number:03d}" for number in range(40)]
        assert store.reader(SHADOW).get_many(users).equals(store.reader(SCORES).get_many(users))
        assert dict(store.reader(SHADOW).info.metadata) == dict(store.reader(SCORES).info.metadata)


def test_a_shadow_is_published_once_and_not_without_a_challenger(challenged: Settings) -> None:
    first = publish_shadow(challenged)
    again = publish_shadow(challenged)
    assert (again["swapped"], again["reason"]) == (False, f"{first['version']} was published before")
    for change in (
        lambda: tracker(challenged).set_alias("champion", "2"),
        lambda: tracker(challenged).drop_alias("challenger"),
    ):
        change()
        assert publish_shadow(challenged)["reason"] == "there is no challenger, so nothing is compared"
    assert listed(challenged, SHADOW) == [first["version"]]


def test_a_shadow_of_a_changed_lake_or_with_a_missing_part_is_not_swapped_in(challenged: Settings) -> None:
    plan = write_items(challenged, shadow_begin(challenged))
    with pytest.raises(ContractError, match="lacks the parts"):
        shadow_commit(challenged, plan)
    score_bucket(challenged, plan, 0)
    with pytest.raises(ContractError, match="publish again"):
        shadow_commit(challenged, plan | {"digests": {}})
    assert served(challenged)[SHADOW] is None
    assert shadow_commit(challenged, plan)["swapped"]
    assert shadow_commit(challenged, plan)["swapped"], "a task that is tried again"


def test_a_shadow_is_asked_what_scores_are_asked(challenged: Settings) -> None:
    before = served(challenged)
    rules = challenged.publish.checks.model_copy(update={"min_length": 11})
    strict = challenged.model_copy(update={"publish": challenged.publish.model_copy(update={"checks": rules})})
    with pytest.raises(ContractError):
        publish_shadow(strict)
    assert served(challenged) == before
    with the_store(challenged) as store:
        assert [info.refused for info in store.versions(SHADOW)] == [True]


def test_shadows_are_kept_as_long_as_scores_and_go_back_alone(
    challenged: Settings, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    config = config_of(challenged)
    monkeypatch.setenv("RECSYS_TEXT_PUBLISH__KEEP", "2")
    versions = []
    for top_k in ("3", "4", "5"):
        monkeypatch.setenv("RECSYS_TEXT_PUBLISH__TOP_K", top_k)
        assert run_cli("publish", "--shadow", "-c", config) == 0
        versions.append(served(challenged)[SHADOW])
    assert f"Published {versions[2]} as a shadow: 40 users, 200 scored items" in capsys.readouterr().out
    assert listed(challenged, SHADOW) == versions[1:]
    before = served(challenged)
    assert run_cli("rollback", "--shadow", "-c", config) == 0
    assert served(challenged) == before | {SHADOW: versions[1]}
    assert run_cli("versions", "-c", config) == 0
    assert SHADOW in capsys.readouterr().out
    assert run_cli("publish", "--shadow", "--items", "-c", config) == 2


def test_a_night_publishes_both_where_the_config_says_so(
    challenged: Settings, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("RECSYS_TEXT_GATE__SHADOW", "true")
    assert run_cli("publish", "-c", config_of(challenged)) == 0
    told = capsys.readouterr().out
    assert "nothing changed since\n" in told
    assert "\nPublished 20240506T000000Z-m2-" in told
    tracker(challenged).drop_alias("challenger")
    assert run_cli("publish", "-c", config_of(challenged)) == 0
    assert "No shadow was published: there is no challenger" in capsys.readouterr().out


def test_an_arm_of_an_experiment_is_served_from_it_and_nobody_else(challenged: Settings) -> None:
    publish_shadow(challenged)
    path = Path(config_of(challenged))
    arms = f'arms.shadow = {{ share = 1, scores = "{SHADOW}" }}'
    path.write_text(f"{path.read_text()}\n[service.experiments.try]\n{arms}\n")
    project = load(path)
    before = served(project)
    asked = {"user_id": "u001", "candidates": ["i001", "i002"]}
    with TestClient(create_app(project.store_url, project.service), base_url="http://127.0.0.1") as client:
        answers = [client.post("/rank", json=asked | named) for named in ({}, {"experiment": "try"})]
    assert [answer.headers["X-Scores-Version"] for answer in answers] == [before[SCORES], before[SHADOW]]
    assert answers[1].json()["arm"] == "shadow"
