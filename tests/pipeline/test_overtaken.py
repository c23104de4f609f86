"""A publication that a refresh overtakes, and what refreshes leave for the monitor."""

from datetime import timedelta

import pytest

from recsys_text.config import Settings
from recsys_text.errors import ContractError
from recsys_text.steps.extract import extract
from recsys_text.steps.inputs import the_store
from recsys_text.steps.monitor import monitor
from recsys_text.steps.publish import VIEWS, publish, publish_begin, publish_commit, write_parts
from recsys_text.steps.refresh import refresh, refresh_begin
from recsys_text.steps.store import rollback
from tests.pipeline.conftest import run_cli
from tests.pipeline.test_checks import with_rules
from tests.pipeline.test_publish_races import models
from tests.pipeline.test_publish_vectors import config, second_champion, served
from tests.pipeline.test_refresh import NOON, TODAY, click


def refreshed_by_night(settings: Settings) -> str:
    """Publishes as of an hour after the newest window's end."""
    click(settings, "u001", "i047", TODAY.end + timedelta(minutes=30))
    done = refresh(settings, TODAY.end + timedelta(hours=1))
    assert done["swapped"]
    return str(done["version"])


def test_a_publication_of_the_same_model_gives_way(published: Settings, capsys: pytest.CaptureFixture[str]) -> None:
    extract(published, [TODAY])
    plan, _ = write_parts(published, publish_begin(published))
    newer = refreshed_by_night(published)
    done = publish_commit(published, plan)
    assert (done["swapped"], done["served"]) == (False, newer)
    assert served(published) == dict.fromkeys(VIEWS, newer)
    with the_store(published) as store:
        assert [store.staged(view) for view in VIEWS] == [{}, {}, {}]
    assert run_cli("publish", "-c", config(published)) == 0
    assert f"{newer} is published already" in " ".join(capsys.readouterr().out.split())


def test_a_new_model_replaces_newer_scores_of_the_former(published: Settings) -> None:
    extract(published, [TODAY])
    again = second_champion(published)
    plan, _ = write_parts(published, publish_begin(published))
    newer = refreshed_by_night(published)
    before = served(published)
    assert before == dict.fromkeys(VIEWS, newer)
    with pytest.raises(ContractError, match="max_age"):
        publish_commit(with_rules(published, max_age=timedelta(hours=36)), plan)
    assert served(published) == before
    assert publish_commit(published, plan)["swapped"]
    assert served(published) == dict.fromkeys(VIEWS, plan["version"])
    assert models(published) == [again] * 3
    # And the next refresh is of the new one.
    click(published, "u002", "i047", TODAY.end + timedelta(minutes=40))
    assert "-m2-" in refresh(published, TODAY.end + timedelta(hours=2))["version"]
    assert models(published) == [again] * 3


def test_a_refresh_does_not_undo_what_was_served_meanwhile(published: Settings) -> None:
    """A new champion as of the same time, and a roll-back by a person."""
    extract(published, [TODAY])
    first, second = served(published)["user_scores"], publish(published)["version"]
    click(published, "u001", "i047", TODAY.end + timedelta(minutes=30))
    plan, _ = write_parts(published, refresh_begin(published, TODAY.end + timedelta(hours=1)))
    assert plan["follows"] == second
    rollback(published)
    done = publish_commit(published, plan)
    assert (done["swapped"], done["served"]) == (False, first)
    rollback(published, second)
    plan, _ = write_parts(published, refresh_begin(published, TODAY.end + timedelta(hours=1)))
    again = second_champion(published)
    newest = publish(published)["version"]
    assert newest[:16] == plan["version"][:16]
    assert publish_commit(published, plan)["reason"].startswith("it was served while")
    assert models(published) == [again] * 3
    with the_store(published) as store:
        assert [store.staged(view) for view in VIEWS] == [{}, {}, {}]


def test_a_refresh_whose_answer_was_lost_is_committed_again(published: Settings) -> None:
    plan, _ = write_parts(published, refresh_begin(published, NOON))
    assert publish_commit(published, plan)["swapped"]
    assert publish_commit(published, plan)["swapped"]
    assert served(published) == dict.fromkeys(VIEWS, plan["version"])


def test_refreshes_leave_what_the_monitor_will_measure(published: Settings) -> None:
    few = published.model_copy(update={"publish": published.publish.model_copy(update={"keep": 2})})
    nightly, names = served(few)["user_scores"], []
    for hours in range(4):
        click(few, "u001", f"i04{hours}", NOON + timedelta(hours=hours))
        names.append(refresh(few, NOON + timedelta(hours=hours + 1))["version"])
    with the_store(few) as store:
        listed = [[each.version for each in store.versions(view)] for view in VIEWS]
    assert listed == [[nightly, *names[-2:]]] * 3
    extract(few, [TODAY])
    newest = publish(few)["version"]
    with the_store(few) as store:
        assert [each.version for each in store.versions("user_scores")] == [nightly, names[-1], newest]
    assert monitor(few, TODAY.key)["version"] == nightly
