"""What a publication staged that never came to its commit."""

from recsys_text.config import Settings
from recsys_text.publications import named_time, version_name
from recsys_text.steps.inputs import the_store
from recsys_text.steps.publish import VIEWS, publish, publish_begin, publish_commit, publish_items, write_parts
from tests.conftest import START
from tests.feature_store.ages import age
from tests.pipeline.conftest import store_folder
from tests.pipeline.test_publish_vectors import extract


def shorter(settings: Settings, top_k: int) -> Settings:
    """Makes another version of the same time."""
    return settings.model_copy(update={"publish": settings.publish.model_copy(update={"top_k": top_k})})


def staged(settings: Settings) -> list[str]:
    """What is staged, the same in all views."""
    with the_store(settings) as store:
        names, *others = [list(store.staged(view)) for view in VIEWS]
    assert others == [names, names]
    return names


def let_days_pass(settings: Settings, version: str) -> None:
    for view in VIEWS:
        age(store_folder(settings) / view / ".staging" / version, days=2)


def test_what_was_staged_for_an_older_time_goes_once_nobody_writes_to_it(published: Settings) -> None:
    dead, _ = write_parts(shorter(published, 3), publish_begin(shorter(published, 3)))
    at_work, _ = write_parts(shorter(published, 4), publish_begin(shorter(published, 4)))
    let_days_pass(published, dead["version"])
    # Nothing newer is served: it may be committed yet.
    assert publish(shorter(published, 5))["swapped"]
    both = sorted([dead["version"], at_work["version"]])
    assert staged(published) == both
    extract(published)
    assert publish(published)["swapped"]
    assert staged(published) == [at_work["version"]]


def test_what_was_staged_for_the_present_waits(published: Settings) -> None:
    extract(published)
    plan, _ = write_parts(published, publish_begin(published))
    let_days_pass(published, plan["version"])
    assert publish(shorter(published, 5))["swapped"]
    assert staged(published) == [plan["version"]]
    assert publish_commit(published, plan)["swapped"]
    assert staged(published) == []


def test_items_that_are_published_alone_take_nothing_from_a_publication(published: Settings) -> None:
    plan, _ = write_parts(shorter(published, 3), publish_begin(shorter(published, 3)))
    let_days_pass(published, plan["version"])
    extract(published)
    assert publish_items(published)["swapped"]
    assert staged(published) == [plan["version"]]
    assert publish_commit(shorter(published, 3), plan)["swapped"]


def test_a_name_says_of_which_time_a_version_speaks() -> None:
    name = version_name(START, "12", "abcdef" * 10)
    assert name == "20240501T000000Z-m12-abcdefabcdef"
    assert named_time(name) == START
    assert named_time("v1") is None
