"""When scheduled training is due, how it starts, and what is left to do where one was stopped."""

from datetime import UTC, datetime

import pytest
from mlflow import MlflowClient

from recsys_text.config import Settings
from recsys_text.steps.inputs import tracker
from recsys_text.steps.schedule import due, starts_warm, unjudged
from tests.pipeline.conftest import run_cli
from tests.pipeline.test_cli import config_of
from tests.pipeline.test_report import second
from tests.pipeline.test_warm import with_training


def trained(settings: Settings, cutoff: str, **tags: str) -> str:
    """One more registered version, which nobody serves."""
    version = second(settings, seed=4)
    told = {"cutoff": datetime.fromisoformat(cutoff).replace(tzinfo=UTC).isoformat()}
    tracker(settings).tag(version, told | tags)
    return version


def test_a_model_that_was_made_by_hand_of_an_older_time_makes_no_other_due(published: Settings) -> None:
    settings = with_training(published, every=1)
    assert not due(settings)[0]
    tracker(settings).set_alias("challenger", trained(settings, "2024-05-03"))
    assert due(settings) == (False, "version 1 is 0 of 1 windows behind")


def test_after_a_whole_training_that_was_refused_the_warm_starts_go_on(published: Settings) -> None:
    settings = with_training(published, full_every=1)
    assert run_cli("extract", "-c", config_of(published), "--window", "2024-05-06") == 0
    tracker(settings).tag("1", {"mode": "whole"})
    assert starts_warm(settings) == (False, "the last whole training is 1 windows old, and full_every = 1")
    trained(settings, "2024-05-06", whole_cutoff="2024-05-05T00:00:00+00:00")
    assert not starts_warm(settings)[0], "a warm start is none"
    trained(settings, "2024-05-06", whole_cutoff="2024-05-06T00:00:00+00:00")
    assert starts_warm(settings) == (True, "the last whole training is 0 windows old, and full_every = 1")


def test_without_any_alias_a_first_model_is_due(published: Settings) -> None:
    tracker(published).drop_alias("champion")
    assert due(published) == (True, "there is no model yet; the first needs 4 windows")
    tested = published.evaluation.model_copy(update={"windows": 3})
    assert due(published.model_copy(update={"evaluation": tested})) == (
        False, "there is no model yet; the first needs 6 windows"
    )  # fmt: skip


def test_what_was_registered_and_never_judged_is_found(published: Settings) -> None:
    registry = tracker(published)
    assert unjudged(published) is None
    version = trained(published, "2024-05-05")
    registry.set_alias("challenger", version)
    client = MlflowClient(published.tracking_uri)
    run_id = client.get_model_version("small", version).run_id
    assert unjudged(published) == {"version": version, "run_id": run_id, "cutoff": "2024-05-05T00:00:00+00:00"}
    registry.retag(version, "gate.", {"promoted": "false"})
    assert unjudged(published) is None


@pytest.mark.parametrize("windows", [1, 2])
def test_a_training_is_not_due_right_after_itself(published: Settings, windows: int) -> None:
    tested = published.evaluation.model_copy(update={"windows": windows})
    settings = with_training(published, every=1).model_copy(update={"evaluation": tested})
    assert run_cli("extract", "-c", config_of(published), "--window", "2024-05-06") == 0
    newest = f"2024-05-0{7 - windows}"
    assert due(settings)[0] == (newest > "2024-05-05")
    trained(settings, newest)
    assert due(settings) == (False, "version 2 is 0 of 1 windows behind")
