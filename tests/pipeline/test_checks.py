"""A publication that breaks a rule is refused with the reason, and the scores that were served stay."""

from datetime import UTC, datetime, timedelta
from pathlib import Path

import numpy as np
import polars as pl
import pyarrow as pa
import pytest

from feature_store import RefusedVersion, VersionInfo
from recsys_text.config import Settings, load
from recsys_text.errors import ConfigError, ContractError
from recsys_text.steps.inputs import ITEM_VECTORS, USER_VECTORS, part_name, the_store
from recsys_text.steps.publish import VIEWS, checks, publish, publish_begin, publish_commit, write_parts
from recsys_text.steps.store import rollback, versions
from tests.pipeline.conftest import run_cli, store_folder


def with_rules(settings: Settings, **rules: object) -> Settings:
    changed = settings.publish.checks.model_copy(update=rules)
    return settings.model_copy(update={"publish": settings.publish.model_copy(update={"checks": changed})})


def extract_a_day(settings: Settings) -> str:
    """A window more, so that there's something to publish; the config."""
    config = str(settings.project.root.parent / "recsys.toml")
    assert run_cli("extract", "-c", config, "--window", "2024-05-06") == 0
    return config


def listed(settings: Settings) -> tuple[list[VersionInfo], str | None]:
    return versions(settings)["user_scores"]


def test_a_refused_publication_is_listed_checked_again_and_served(
    published: Settings, capsys: pytest.CaptureFixture[str]
) -> None:
    config = extract_a_day(published)
    former = listed(published)[1]
    strict = with_rules(published, max_age=timedelta(hours=36))
    with pytest.raises(ContractError, match=r"max_age: its data are as of 2024-05-07T00:00:00Z"):
        publish(strict)
    infos, served = listed(published)
    assert served == former
    assert [info.refused for info in infos] == [False, True]
    with pytest.raises(ContractError, match="max_age"):
        rollback(published, infos[1].version)
    capsys.readouterr()
    assert run_cli("versions", "-c", config) == 0
    shown = capsys.readouterr().out
    assert "refused" in shown
    assert f"{infos[1].version}: max_age: its data are as of" in shown
    assert run_cli("monitor", "-c", config) == 0
    assert publish_begin(published)["version"] == infos[1].version
    assert publish(published)["swapped"]
    assert [(info.problem, info.refused) for info in listed(published)[0]] == [("", False)] * 2
    assert listed(published)[1] == infos[1].version


def test_vectors_go_back_with_the_scores_that_stay(published: Settings) -> None:
    """Vectors are served first, so that those of a refused publication were served for a moment."""
    extract_a_day(published)
    with the_store(published) as store:
        former = {view: store.current(view) for view in VIEWS}
    plan, _ = write_parts(published, publish_begin(published))
    strict = with_rules(published, max_age=timedelta(hours=36))
    for _ in range(2):  # also where the commit alone is tried again
        with pytest.raises(ContractError, match=r"'user_scores' .*max_age"):
            publish_commit(strict, plan)
        with the_store(published) as store:
            assert {view: store.current(view) for view in VIEWS} == former
    assert publish_commit(published, plan)["swapped"]
    with the_store(published) as store:
        assert {store.current(view) for view in VIEWS} == {plan["version"]}


def test_refused_vectors_are_listed_and_leave_no_scores_behind(
    published: Settings, capsys: pytest.CaptureFixture[str]
) -> None:
    config = extract_a_day(published)
    former = {view: served for view, (_, served) in versions(published).items()}
    plan, _ = write_parts(published, publish_begin(published))
    with the_store(published) as store:
        batch = store.snapshot(USER_VECTORS).get_many(["u000", "u001"])
        place, kind = batch.schema.get_field_index("vector"), batch["vector"].type
        broken = pa.array(np.full(2 * kind.list_size, np.nan, np.float16))
        with store.stage(USER_VECTORS, plan["version"]).writer(part_name(0)) as writer:
            writer.write(batch.set_column(place, "vector", pa.FixedSizeListArray.from_arrays(broken, type=kind)))
    for _ in range(2):
        with pytest.raises(ContractError, match=r"'user_vectors' .*ranges"):
            publish_commit(published, plan)
        assert {view: served for view, (_, served) in versions(published).items()} == former
        assert not list((store_folder(published) / "user_scores" / ".staging").iterdir())
    capsys.readouterr()
    assert run_cli("versions", "-c", config) == 0
    shown = capsys.readouterr().out
    assert [view for view in VIEWS if view in shown] == list(VIEWS)
    assert f"{plan['version']}: ranges: 'vector' of key" in shown
    assert publish(published)["swapped"]


def test_vectors_are_checked_too(published: Settings) -> None:
    now = datetime.now(UTC)
    with the_store(published) as store:
        for view, column in ((USER_VECTORS, "vector"), (ITEM_VECTORS, "vector"), (ITEM_VECTORS, "popular")):
            snapshot = store.snapshot(view)
            assert snapshot.info.rows > 1
            keys = [f"{view[0]}{number:03d}" for number in range(40)]
            batch = snapshot.get_many(keys)
            place = batch.schema.get_field_index(column)
            whole = batch[column]
            half = whole.flatten() if pa.types.is_fixed_size_list(whole.type) else whole
            broken = np.full(len(half), np.nan, half.to_numpy().dtype)
            values = pa.array(broken)
            wrong = pa.FixedSizeListArray.from_arrays(values, type=whole.type) if half is not whole else values
            former = store.current(view)
            with store.begin(view, "wrong").writer("all") as writer:
                writer.write(batch.set_column(place, column, wrong))
            with pytest.raises(RefusedVersion, match=f"ranges: '{column}' of key '{keys[0]}' has nan"):
                store.commit(view, "wrong", expect_parts=["all"], metadata={}, checks=checks(published, view, now))
            assert store.current(view) == former


def test_a_publication_that_lost_its_users_exits_with_a_broken_contract(
    published: Settings, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    config = extract_a_day(published)
    monkeypatch.setenv("RECSYS_TEXT_PUBLISH__CHECKS__MIN_USERS", "1.5")
    assert load(Path(config)).publish.checks.min_users == 1.5
    capsys.readouterr()
    assert run_cli("publish", "-c", config) == 3
    said = capsys.readouterr().err
    assert "min_ratio: 40 keys are 1 of the 40 in the served" in said.replace("\n", " ")
    assert len(listed(published)[0]) == 2


def test_refusals_do_not_pile_up(published: Settings) -> None:
    extract_a_day(published)
    strict = with_rules(published, min_users=2.0)
    keep = strict.publish.model_copy(update={"keep": 1})
    for top_k in (5, 6, 7):
        with pytest.raises(ContractError, match="min_ratio"):
            publish(strict.model_copy(update={"publish": keep.model_copy(update={"top_k": top_k})}))
    assert [info.refused for info in listed(published)[0]] == [False, True]


def publish_frame(settings: Settings, frame: pl.DataFrame) -> None:
    """What a broken scorer would publish, under the rules of every publication."""
    rules = checks(settings, "user_scores", datetime.now(UTC))
    with the_store(settings) as store:
        with store.begin("user_scores", "wrong").writer("all") as writer:
            writer.write(frame.to_arrow().to_batches()[0])
        store.commit("user_scores", "wrong", expect_parts=["all"], metadata={}, checks=rules)


def test_scores_that_are_no_probabilities_are_never_served(published: Settings) -> None:
    with the_store(published) as store:
        rows = store.snapshot("user_scores").get_many([f"u{number:03d}" for number in range(40)])
    frame = pl.from_arrow(rows)
    assert isinstance(frame, pl.DataFrame)
    for column, wrong in (
        ("score", pl.col("score") + 1.0),
        ("score", pl.col("score") * float("nan")),
        ("interest", pl.col("interest") * float("inf")),
        ("item_id", pl.col("item_id").list.head(3)),
        ("item_id", pl.lit("i000").repeat_by(pl.col("item_id").list.len())),
    ):
        with pytest.raises(ContractError, match=r"breaks the rule .* of key 'u\d{3}'") as refused:
            publish_frame(published, frame.with_columns(wrong.alias(column)))
        assert f"'{column}'" in str(refused.value)
    assert listed(published)[1] != "wrong"
    publish_frame(published, frame)
    assert listed(published)[1] == "wrong"


def test_a_list_that_can_never_be_long_enough_is_a_mistake_of_the_config(small_config: Path) -> None:
    with small_config.open("a") as file:
        file.write("[publish.checks]\nmin_length = 11\n")
    with pytest.raises(ConfigError, match=r"min_length = 11 is above top_k = 10"):
        load(small_config)
