"""Three views published, pruned and rolled back together, and the items' vectors alone."""

import json
from pathlib import Path

import numpy as np
import polars as pl
import pytest

from feature_store import VersionInfo, bucket_of
from recsys_text.config import Settings
from recsys_text.errors import ConfigError, ContractError
from recsys_text.steps.inputs import bundle_path, part_name, the_store, tracker
from recsys_text.steps.publish import VIEWS, publish, publish_begin, publish_commit, publish_items, write_parts
from recsys_text.steps.score import score_bucket
from recsys_text.steps.store import rollback
from recsys_text.steps.vectors import write_items
from tests.pipeline.conftest import run_cli, store_folder


def served(settings: Settings) -> dict[str, str | None]:
    with the_store(settings) as store:
        return {view: store.current(view) for view in VIEWS}


def info(settings: Settings, view: str) -> VersionInfo:
    with the_store(settings) as store:
        return store.reader(view).info


def extract(settings: Settings, window: str = "2024-05-06") -> None:
    assert run_cli("extract", "-c", config(settings), "--window", window) == 0


def config(settings: Settings) -> str:
    return str(settings.project.root.parent / "recsys.toml")


def second_champion(settings: Settings) -> str:
    """Registers the champion's bundle again, as another model."""
    registry = tracker(settings)
    with registry.run(params={}, datasets={}):
        again = registry.register(
            bundle_path(settings, "champion")[1], {"history": ["boat"], "candidates": ["rose"]}, ()
        )
    registry.tag(again, registry.tags("1"))
    registry.set_alias("champion", again)
    return again


def test_a_publication_tells_how_many_items_have_left_the_catalogue(
    published: Settings, capsys: pytest.CaptureFixture[str]
) -> None:
    items = Path(config(published)).parent / "items.parquet"
    pl.read_parquet(items)[:-2].write_parquet(items)
    extract(published)
    assert "2 items have left the catalogue, no candidates any more" in capsys.readouterr().out
    assert run_cli("publish", "-c", config(published)) == 0
    assert "2 items have left the catalogue, no candidates any more" in capsys.readouterr().out


def test_items_alone_bring_a_new_item_and_leave_the_users(
    published: Settings, capsys: pytest.CaptureFixture[str]
) -> None:
    before = served(published)
    items = Path(config(published)).parent / "items.parquet"
    known = pl.read_parquet(items)
    new = known[:1].with_columns(item_id=pl.lit("new"), title=pl.lit("sailing harbour new"))
    pl.concat([known, new]).write_parquet(items)
    extract(published)
    assert run_cli("publish", "--items", "-c", config(published)) == 0
    assert "Published the vectors of 49 items as 20240507T000000Z-m1-" in capsys.readouterr().out
    after = served(published)
    assert after == before | {"item_vectors": after["item_vectors"]} != before
    told = info(published, "item_vectors").metadata
    assert (told["as_of"], told["last_window"]) == ("2024-05-07T00:00:00+00:00", "2024-05-06")
    assert told["model_version"] == info(published, "user_vectors").metadata["model_version"]
    with the_store(published) as store:
        row = store.reader("item_vectors").get("new")
    assert row is not None
    assert row["popular"] > 0
    assert run_cli("publish", "--items", "-c", config(published)) == 0
    assert "nothing changed" in capsys.readouterr().out


def test_a_publication_goes_on_from_items_that_were_published(published: Settings) -> None:
    extract(published)
    version = publish_items(published)["version"]
    plan = publish_begin(published)
    assert plan["version"] == version
    assert plan["views"] == ["user_vectors", "user_scores"]
    assert publish(published)["swapped"]
    assert set(served(published).values()) == {version}
    assert publish_begin(published)["views"] == []


def test_items_are_of_the_model_of_the_users(published: Settings) -> None:
    extract(published)
    again = second_champion(published)
    assert publish_items(published)["version"].startswith("20240507T000000Z-m1-")
    assert publish(published)["swapped"]
    assert [info(published, view).metadata["model_version"] for view in VIEWS] == [again] * 3


def test_items_wait_for_user_vectors(small_config: Path) -> None:
    assert run_cli("extract", "-c", str(small_config), "--from", "2024-05-01", "--to", "2024-05-03") == 0
    assert run_cli("publish", "--items", "-c", str(small_config)) == 2


def test_items_of_a_model_that_was_replaced_meanwhile_are_not_served(
    published: Settings, monkeypatch: pytest.MonkeyPatch
) -> None:
    extract(published)
    again, before = second_champion(published), served(published)["item_vectors"]

    def meanwhile(settings: Settings, plan: dict[str, object]) -> dict[str, object]:
        written = write_items(settings, plan)
        if plan["views"] == ["item_vectors"]:
            assert publish(settings)["swapped"]
        return written

    monkeypatch.setattr("recsys_text.steps.vectors.write_items", meanwhile)
    with pytest.raises(ContractError, match=f"model {again} were published meanwhile"):
        publish_items(published)
    assert served(published)["item_vectors"] not in (before, None)
    assert info(published, "item_vectors").metadata["model_version"] == again


def test_newer_items_of_the_same_model_stay(published: Settings) -> None:
    bucketed = published.model_copy(update={"publish": published.publish.model_copy(update={"top_k": 5})})
    plan, _ = write_parts(bucketed, publish_begin(bucketed))
    extract(published)
    newer = publish_items(published)["version"]
    assert publish_commit(bucketed, plan)["swapped"]
    assert publish_commit(bucketed, plan)["swapped"], "a commit whose answer was lost is asked for again"
    assert served(published) == {
        "item_vectors": newer,
        "user_vectors": plan["version"],
        "user_scores": plan["version"],
    }
    with pytest.raises(ConfigError, match="isn't staged"), the_store(published) as store:
        store.stage("item_vectors", plan["version"])


def test_a_bucket_without_users_has_its_parts(published: Settings) -> None:
    many = published.model_copy(update={"publish": published.publish.model_copy(update={"buckets": 400})})
    plan = write_items(many, publish_begin(many))
    taken = {bucket_of(f"u{number:03d}", 400) for number in range(40)}
    empty = min(set(range(400)) - taken)
    assert score_bucket(many, plan, empty) == {"bucket": empty, "users": 0, "pairs": 0}
    with the_store(many) as store:
        assert [store.stage(view, plan["version"]).parts() for view in VIEWS[1:]] == [[part_name(empty)]] * 2


def test_a_plan_may_travel_as_json(published: Settings) -> None:
    extract(published)
    plan = publish_begin(published)
    plan = write_items(published, json.loads(json.dumps(plan)))
    assert json.loads(json.dumps(plan)) == plan
    assert plan["calibration"], "clicks came since the cutoff"
    score_bucket(published, json.loads(json.dumps(plan)), 0)
    assert publish_commit(published, json.loads(json.dumps(plan)))["swapped"]


def test_scores_are_served_after_their_vectors(published: Settings) -> None:
    extract(published)
    former = served(published)
    plan = write_items(published, publish_begin(published))
    score_bucket(published, plan, 0)
    (part,) = (store_folder(published) / "user_scores").rglob(f".*/{plan['version']}/*.arrow")
    content = part.read_bytes()
    part.write_bytes(content[:-1] + bytes([content[-1] ^ 1]))
    with pytest.raises(ContractError, match="checksum"):
        publish_commit(published, plan)
    assert served(published) == former, "vectors went back"
    assert publish_begin(published)["views"] == ["user_scores"]
    assert publish(published)["swapped"]
    assert set(served(published).values()) == {plan["version"]}


def test_a_store_of_scores_alone_gets_its_vectors(published: Settings) -> None:
    version = served(published)["user_scores"]
    for view in VIEWS[:2]:
        (store_folder(published) / view).rename(store_folder(published).parent / view)
    assert publish(published) == {"version": version, "users": 40, "swapped": True, "left": 0, "pairs": 0}
    assert set(served(published).values()) == {version}


def test_scores_that_were_rolled_back_get_no_vectors(published: Settings) -> None:
    extract(published)
    version = publish(published)["version"]
    former = rollback(published)
    with the_store(published) as store:
        for view in VIEWS[:2]:
            store.delete(view, version)
    assert publish(published) == {"version": version, "users": 0, "swapped": False, "served": former, "pairs": 0}


def test_all_views_go_back_together(published: Settings) -> None:
    first = served(published)
    extract(published)
    assert publish(published)["swapped"]
    second = served(published)
    assert rollback(published) == first["user_scores"]
    assert served(published) == first
    assert publish_begin(published)["views"] == []
    assert rollback(published, second["user_scores"]) == second["user_scores"]
    assert served(published) == second


def test_vectors_go_back_to_the_same_model_where_no_version_has_the_name(published: Settings) -> None:
    first = served(published)
    with the_store(published) as store:
        extract(published)
        newer = publish_items(published)["version"]
        second_champion(published)
        assert publish(published)["swapped"]
        store.delete("item_vectors", str(first["item_vectors"]))
        store.delete("user_vectors", str(first["user_vectors"]))
        scores_alone = served(published)["user_vectors"]
    rollback(published)
    assert served(published) == first | {"item_vectors": newer, "user_vectors": scores_alone}


def test_a_version_that_was_rolled_back_is_served_again_with_its_scores(published: Settings) -> None:
    extract(published)
    other = published.model_copy(update={"publish": published.publish.model_copy(update={"top_k": 5})})
    items = publish_items(published)["version"]
    assert publish(other)["swapped"]
    assert publish(published)["version"] == items
    assert set(served(published).values()) == {items}


def test_vectors_of_kept_scores_are_kept(published: Settings) -> None:
    kept = published.model_copy(update={"publish": published.publish.model_copy(update={"keep": 1})})
    first = served(kept)
    events = Path(config(kept)).parent / "events.parquet"
    rows = pl.read_parquet(events)
    names = []
    for turn in range(3):
        rows.with_columns(value=pl.lit(float(turn))).write_parquet(events)
        extract(kept)
        names.append(publish_items(kept)["version"])
    with the_store(kept) as store:
        found = {view: [each.version for each in store.versions(view)] for view in VIEWS}
        assert found["item_vectors"] == [first["item_vectors"], names[-1]]
        assert publish(kept)["swapped"]
        # And the scores that the clicks of the newest window are still to be held against, with their vectors.
        assert [[each.version for each in store.versions(view)] for view in VIEWS] == [
            [first["user_scores"], names[-1]]
        ] * 3


def test_vectors_do_not_depend_on_the_buckets(published: Settings) -> None:
    two = published.model_copy(update={"publish": published.publish.model_copy(update={"buckets": 2})})
    assert publish(two)["users"] == 40
    with the_store(published) as store:
        one, other = (each.version for each in store.versions("item_vectors"))
        items = [store.snapshot("item_vectors", version) for version in (one, other)]
        users = [store.snapshot("user_vectors", version) for version in (one, other)]
    for key in ("i000", "i047"):
        assert items[0].get(key) == items[1].get(key)
    for key in ("u000", "u001", "u039"):
        first, second = (snapshot.get(key) for snapshot in users)
        assert first is not None
        assert second is not None
        assert first["history"] == second["history"]
        np.testing.assert_allclose(first["vector"], second["vector"], atol=1e-3)
    assert items[0].info.metadata == items[1].info.metadata
