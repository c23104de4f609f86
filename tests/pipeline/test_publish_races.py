"""Publications, and items that are published alone while one is under way: whose vectors are served in the end."""

from datetime import timedelta
from typing import Any

import pytest

from recsys_text.config import Settings
from recsys_text.errors import ContractError
from recsys_text.steps import publish as step
from recsys_text.steps.publish import VIEWS, publish, publish_begin, publish_commit, publish_items, write_parts
from tests.pipeline.test_checks import with_rules
from tests.pipeline.test_publish_vectors import extract, info, second_champion, served


def models(settings: Settings) -> list[str]:
    return [info(settings, view).metadata["model_version"] for view in VIEWS]


def before_serving(monkeypatch: pytest.MonkeyPatch, view: str, model: str, act: Any) -> None:
    """Has `act` happen once, right before a publication of this model serves its version of the view."""
    serve, acts = step._serve, [act]

    def meanwhile(settings: Settings, store: Any, served_view: str, plan: dict[str, Any], parts: list[str]) -> None:
        if (served_view, plan["model_version"]) == (view, model) and acts:
            acts.pop()()
        serve(settings, store, served_view, plan, parts)

    monkeypatch.setattr(step, "_serve", meanwhile)


def test_items_that_are_served_between_those_and_the_users_of_a_publication_are_replaced(
    published: Settings, monkeypatch: pytest.MonkeyPatch
) -> None:
    extract(published)
    again = second_champion(published)
    former = []
    before_serving(
        monkeypatch, "user_vectors", again, lambda: former.append((publish_items(published), served(published)))
    )
    version = publish(published)["version"]
    ((items, then),) = former
    assert then["item_vectors"] == items["version"] != version, "they were served for a while"
    assert served(published) == dict.fromkeys(VIEWS, version)


def test_items_that_are_served_after_the_users_of_another_model_go_back(
    published: Settings, monkeypatch: pytest.MonkeyPatch
) -> None:
    extract(published)
    again = second_champion(published)
    before_serving(monkeypatch, "item_vectors", "1", lambda: publish(published))
    with pytest.raises(ContractError, match=f"model {again} were published meanwhile"):
        publish_items(published)
    assert models(published) == [again] * 3


def test_items_go_back_to_the_model_of_the_users_while_the_scores_still_wait(
    published: Settings, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The publisher of items looked at the users before these changed, and serves after the publication did."""
    extract(published)
    again = second_champion(published)
    looks, users = [info(published, "user_vectors")], step._users

    def alone() -> None:
        planned, looked = looks * 2, []

        def former(store: Any) -> Any:
            looked.append(planned.pop() if planned else users(store))
            return looked[-1]

        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(step, "_users", former)
            with pytest.raises(ContractError, match="published meanwhile"):
                publish_items(published)
        assert len(looked) == 3

    before_serving(monkeypatch, "user_scores", again, alone)
    assert publish(published)["swapped"]
    assert models(published) == [again] * 3


def test_items_of_the_former_model_that_are_newer_do_not_stop_a_publication(published: Settings) -> None:
    again = second_champion(published)
    plan, _ = write_parts(published, publish_begin(published))
    extract(published)
    newer, before = publish_items(published)["version"], served(published)
    assert before["item_vectors"] == newer
    strict = with_rules(published, max_age=timedelta(hours=36))
    with pytest.raises(ContractError, match="max_age"):
        publish_commit(strict, plan)
    assert served(published) == before, "also those that are newer than the scores"
    assert publish_commit(published, plan)["swapped"]
    assert served(published) == dict.fromkeys(VIEWS, plan["version"])
    assert models(published) == [again] * 3


def test_newer_items_stay_where_a_publication_is_refused(published: Settings) -> None:
    extract(published)
    publish_items(published)
    before = served(published)
    second_champion(published)
    with pytest.raises(ContractError, match="max_age"):
        publish(with_rules(published, max_age=timedelta(hours=36)))
    assert served(published) == before


def test_a_commit_that_was_killed_and_is_refused_when_tried_again_leaves_no_vectors(
    published: Settings, monkeypatch: pytest.MonkeyPatch
) -> None:
    extract(published)
    before = served(published)
    plan, _ = write_parts(published, publish_begin(published))

    def killed() -> None:
        raise KeyboardInterrupt

    before_serving(monkeypatch, "user_scores", "1", killed)
    with pytest.raises(KeyboardInterrupt):
        publish_commit(published, plan)
    assert served(published)["user_vectors"] == plan["version"]
    with pytest.raises(ContractError, match="max_age"):
        publish_commit(with_rules(published, max_age=timedelta(hours=36)), plan)
    assert served(published) == before
