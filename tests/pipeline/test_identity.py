"""A registered version's number is of one registry only: what names a model is the run that made it."""

from datetime import UTC, datetime

import pytest

from recsys_text.config import Settings
from recsys_text.errors import ConfigError, ContractError
from recsys_text.publications import ITEMS, SCORES, USERS
from recsys_text.sections import Tracking
from recsys_text.steps.inputs import bundle_path, the_store, tracker
from recsys_text.steps.lineage import lineage
from recsys_text.steps.monitor import monitor
from recsys_text.steps.publish import VIEWS, publish, publish_items
from recsys_text.steps.refresh import refresh
from recsys_text.steps.store import rollback
from tests.pipeline.conftest import run_cli
from tests.pipeline.test_publish_vectors import info, served


def with_new_registry(settings: Settings) -> Settings:
    """The registry was lost and made anew: its version 1 is another model than that of what is published."""
    bundle, tags = bundle_path(settings, "champion")[1], tracker(settings).tags("1")
    settings = settings.model_copy(update={"tracking": Tracking(uri=f"sqlite:///{settings.project.root}/new.db")})
    registry = tracker(settings)
    with registry.run(params={}, datasets={}):
        version = registry.register(bundle, {"history": ["boat"], "candidates": ["rose"]}, ())
    registry.tag(version, tags)
    registry.set_alias("champion", version)
    assert version == "1"
    return settings


@pytest.fixture
def anew(landed: Settings) -> Settings:
    return with_new_registry(landed)


def runs(settings: Settings) -> set[str]:
    return {info(settings, view).metadata["model_run"] for view in VIEWS}


def test_a_new_registry_of_the_same_numbers_shares_no_version_and_no_vectors(anew: Settings) -> None:
    before = served(anew)
    (former,) = runs(anew)
    version = publish(anew)["version"]
    assert runs(anew) == {tracker(anew).run_id("1")} != {former}
    assert version.startswith("20240507T000000Z-m1-")
    rollback(anew)
    assert served(anew) == before
    assert runs(anew) == {former}


def test_items_of_a_model_that_is_gone_are_not_those_of_its_number(anew: Settings) -> None:
    before = served(anew)
    with pytest.raises(ConfigError, match=r"the model that run \w+ made is not in the registry of 'small'"):
        publish_items(anew)
    with pytest.raises(ConfigError, match="is not in the registry"):
        refresh(anew, datetime(2024, 5, 7, tzinfo=UTC))
    assert served(anew) == before


def test_the_same_lake_and_number_of_another_run_is_another_version(published: Settings) -> None:
    """Registry and lake out of step: the lake is as it was, and so is the number."""
    before = served(published)[SCORES]
    result = publish(with_new_registry(published))
    assert result["swapped"]
    assert result["version"] != before


def test_quality_is_measured_without_the_model_and_told_to_no_other_run(
    anew: Settings, caplog: pytest.LogCaptureFixture
) -> None:
    result = monitor(anew)
    metrics = {row["metric"] for row in result["rows"]}
    assert {"ndcg@10", "coverage", "null_rate"} <= metrics
    assert "input_psi" not in metrics
    assert "has no drift of the inputs: the model that run" in caplog.text
    found = tracker(anew).recorded("1")
    assert found is not None
    assert not [name for name in found.metrics if name.startswith("served/")]


def test_lineage_of_what_is_published_is_never_that_of_the_number(anew: Settings) -> None:
    name = served(anew)[SCORES]
    assert name is not None
    with pytest.raises(ConfigError, match="is not in the registry"):
        lineage(anew, tracker(anew), name)


def test_what_an_older_release_published_goes_with_what_is_as_old(published: Settings) -> None:
    """Its metadata have the number alone."""
    with the_store(published) as store:
        name = served(published)[SCORES]
        told = {key: value for key, value in info(published, SCORES).metadata.items() if key != "model_run"}
        for view in (ITEMS, USERS, SCORES):
            snapshot = store.snapshot(view, name)
            with store.begin(view, f"{name}-old").writer("all") as writer:
                for batch in snapshot.batches():
                    writer.write(batch)
            store.commit(view, f"{name}-old", expect_parts=["all"], metadata=told)
    with pytest.raises(ConfigError, match="an older release published the user vectors"):
        publish_items(published)
    assert "no scores are served that a refresh could follow" in refresh(published)["reason"]
    rollback(published)
    assert set(served(published).values()) == {name}
    rollback(published, f"{name}-old")
    assert set(served(published).values()) == {f"{name}-old"}


def test_a_parent_of_which_only_the_number_is_known_is_not_guessed(published: Settings) -> None:
    registry = tracker(published)
    told = registry.attached("1", "lineage.json")
    assert told is not None
    registry.attach("1", {"lineage.json": told.replace('"parent": null', '"parent": "1"')})
    with pytest.raises(ContractError, match="kept the number alone"):
        lineage(published, registry, "1")


def test_two_projects_in_one_folder_do_not_share_a_store(
    published: Settings, capsys: pytest.CaptureFixture[str]
) -> None:
    """Both have the default root, and so one store."""
    config = published.project.root.parent / "recsys.toml"
    other = config.with_name("other.toml")
    other.write_text(config.read_text().replace('name = "small"', 'name = "other"'))
    before = served(published)
    for command in (["refresh"], ["rollback"], ["versions"]):
        assert run_cli(*command, "-c", str(other)) == 2
        assert "belongs to 'small', and this is 'other'" in capsys.readouterr().err.replace("\n", " ")
    assert served(published) == before
