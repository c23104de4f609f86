"""What the page shows of a project: all of it, quickly, changing nothing; and a line for what is out of reach."""

import hashlib
import json
import socket
import time
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path
from threading import Event

import polars as pl
import pytest
from hypothesis import given
from hypothesis import strategies as st

from feature_store import open_store
from recsys_text.config import Settings, load
from recsys_text.lake.store import Lake
from recsys_text.lake.windows import DAY, HOUR, window_of
from recsys_text.steps import state as module
from recsys_text.steps.inputs import tracker
from recsys_text.steps.monitor import monitor
from recsys_text.steps.state import Models, deadline, state
from recsys_text.tables import SCHEMA_VERSION
from tests.pipeline.conftest import run_cli

NOON = datetime(2024, 5, 7, 12, tzinfo=UTC)


@pytest.fixture(autouse=True)
def _patient(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "PATIENCE_S", 120.0)
    monkeypatch.setattr(module, "START_S", 120.0)


@pytest.fixture
def silent() -> Iterator[str]:
    """The address of a server that takes connections and never answers."""
    with socket.create_server(("127.0.0.1", 0)) as server:
        yield f"http://127.0.0.1:{server.getsockname()[1]}"


def with_tracking(settings: Settings, uri: str) -> Settings:
    return settings.model_copy(update={"tracking": settings.tracking.model_copy(update={"uri": uri})})


def contents(folder: Path) -> dict[str, str]:
    """A digest of each file; SQLite's own lists of who reads are none of the project's."""
    return {
        str(path.relative_to(folder)): hashlib.sha256(path.read_bytes()).hexdigest()
        for path in sorted(folder.rglob("*"))
        if path.is_file() and path.suffix not in (".lock", ".db-wal", ".db-shm")
    }


def test_all_of_a_project(published: Settings) -> None:
    config = str(published.project.root.parent / "recsys.toml")
    assert run_cli("extract", "-c", config, "--window", "2024-05-06") == 0
    monitor(published)
    tracker(published).tag("1", {"gate.gain": 0.01, "gate.low": float("nan"), "gate.high": 0.02})
    before = contents(published.project.root)
    found = state(published)
    assert contents(published.project.root) == before
    parts = (found.tables, found.models, found.scores, found.quality)
    assert [part.problem for part in parts] == [""] * 4
    events, items = found.tables.value or []
    assert (events.name, events.window, events.windows, events.rejected) == ("events", "2024-05-06", 6, {})
    assert (items.name, items.rows) == ("items", 48)
    assert found.models.value is not None
    champion = found.models.value.champion
    assert champion is not None
    assert champion.version == "1"
    assert champion.verdict.startswith("there was no champion; gain over the best baseline, ")
    assert (champion.gain, champion.low, champion.high) == (0.01, None, 0.02)
    assert found.models.value.challenger is None
    assert found.scores.value is not None
    assert found.scores.value.as_of == datetime(2024, 5, 6, tzinfo=UTC)
    assert (found.scores.value.others, found.scores.value.before) == ([], None)
    assert found.quality.value is not None
    (measured,) = found.quality.value["ndcg@10"]
    assert (measured.window, measured.version) == ("2024-05-06", found.scores.value.served.version)  # type: ignore[union-attr]
    assert measured.low is not None
    assert measured.low <= measured.value


def test_a_project_of_which_nothing_is_there_stays_that_way(small_config: Path) -> None:
    before = set(small_config.parent.rglob("*"))
    found = state(load(small_config))
    assert (found.tables.value, found.models.value, found.quality.value) == ([], Models(), {})
    assert found.scores.value is not None
    assert found.scores.value.served is None
    assert set(small_config.parent.rglob("*")) == before


def test_a_damaged_manifest_hides_no_other_part(published: Settings) -> None:
    manifest = published.lake / "events" / "window=2024-05-05" / "_manifest.json"
    manifest.write_text("{")
    found = state(published)
    assert "is damaged" in found.tables.problem
    assert found.scores.value is not None
    assert found.models.value is not None
    manifest.write_text(json.dumps({"schema_version": SCHEMA_VERSION}))  # and nothing else that it should tell
    assert "the log of this server says more" in state(published).tables.problem


def test_a_store_out_of_reach_hides_no_other_part(published: Settings, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("RECSYS_TEXT_STORE__URL", "redis://shop:a-password@127.0.0.1:1/0")
    found = state(load(published.project.root.parent / "recsys.toml"))
    assert "127.0.0.1:1" in found.scores.problem
    assert "a-password" not in found.scores.problem
    assert found.tables.value


def test_a_silent_mlflow_holds_nothing_up(published: Settings, silent: str, monkeypatch: pytest.MonkeyPatch) -> None:
    address = silent.replace("//", "//shop:a-password@")
    assert state(published).models.value  # MLflow is imported, so that the silence is the server's
    monkeypatch.setattr(module, "PATIENCE_S", 0.3)
    monkeypatch.setattr(module, "START_S", 0.3)
    monkeypatch.setenv("MLFLOW_HTTP_REQUEST_TIMEOUT", "2")
    monkeypatch.setenv("MLFLOW_HTTP_REQUEST_MAX_RETRIES", "0")
    found = state(with_tracking(published, address))
    assert "has not answered within 0.3 s" in found.models.problem
    assert "a-password" not in found.models.problem
    assert found.tables.value
    # The question is still open, and no other may be asked meanwhile: the address is the process's.
    assert "former question" in state(published).models.problem
    monkeypatch.setattr(module, "START_S", 120.0)
    assert state(published).models.value


@pytest.mark.parametrize("server", [False, True])
def test_only_a_server_is_given_up_on_soon(
    published: Settings, silent: str, monkeypatch: pytest.MonkeyPatch, server: bool
) -> None:
    """The first answer takes longer than a dead server is waited for: a file is looked through, a package imported."""
    monkeypatch.setattr(module, "PATIENCE_S", 0.1)
    monkeypatch.setattr(module, "_IMPORTED", Event())
    answer = module._models

    def slowly(settings: Settings) -> module.Models:
        time.sleep(0.5)
        return answer(published)

    monkeypatch.setattr(module, "_models", slowly)
    settings = with_tracking(published, silent) if server else published
    assert state(settings).models.value, "MLflow was not imported yet"
    found = state(settings).models
    assert bool(found.problem) == server, found


def test_warming_up_imports_mlflow_and_asks_of_each_project(
    published: Settings, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked = []
    monkeypatch.setattr(module, "_IMPORTED", Event())
    monkeypatch.setattr(module, "_models", lambda settings: asked.append(settings.project.name))
    module.warm_up([published, published]).join(60)
    assert asked == ["small", "small"]
    assert module._IMPORTED.is_set()


def test_what_can_be_rolled_back_to(published: Settings) -> None:
    store = open_store(published.store_url)
    first = str(store.current("user_scores"))
    for name in ("second", "third"):
        with store.begin("user_scores", name).writer("part") as writer:
            writer.write(next(store.snapshot("user_scores", first).batches()))
        as_of = {"as_of": datetime(2024, 5, 7, tzinfo=UTC).isoformat()}
        store.commit("user_scores", name, expect_parts=["part"], metadata=as_of)
    store.rollback("user_scores", "second")
    found = state(published).scores.value
    assert found is not None
    assert (list(found.others), found.before) == (["third", first], first)


def test_other_slices_are_not_drawn_and_old_windows_neither(
    published: Settings, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(module, "SHOWN", 2)
    for day in (6, 7, 8):
        window = window_of(datetime(2024, 5, day, tzinfo=UTC), DAY)
        row = {"window": window.key, "version": "v", "metric": "auc", "value": day / 10, "low": None, "high": None}
        frame = pl.DataFrame(
            [row | {"slice": "all"}, row | {"slice": "new"}], schema_overrides={"low": pl.Float64, "high": pl.Float64}
        )
        Lake(published.lake).write("quality", window, [frame], source="test", max_rejected=0.0, min_rows=0)
    found = state(published).quality.value
    assert found is not None
    assert [(one.window, one.value) for one in found["auc"]] == [("2024-05-07", 0.7), ("2024-05-08", 0.8)]


@pytest.mark.parametrize(
    ("as_of", "now", "late", "at", "wanted"),
    [
        ("2024-05-07T00", "2024-05-07T12", False, "2024-05-08T06", "2024-05-08T00"),
        ("2024-05-06T00", "2024-05-07T12", True, "2024-05-07T06", "2024-05-07T00"),
        ("2024-05-06T00", "2024-05-07T05", False, "2024-05-07T06", "2024-05-07T00"),
        ("2024-05-05T00", "2024-05-07T05", True, "2024-05-06T06", "2024-05-06T00"),
        ("2024-05-08T00", "2024-05-07T12", False, "2024-05-08T06", "2024-05-08T00"),
        (None, "2024-05-07T06", True, "2024-05-07T06", "2024-05-07T00"),
    ],
)
def test_the_deadline_of_daily_windows(as_of: str | None, now: str, late: bool, at: str, wanted: str) -> None:
    def time(text: str) -> datetime:
        return datetime.fromisoformat(text).replace(tzinfo=UTC)

    found = deadline(timedelta(hours=6), DAY, None if as_of is None else time(as_of), time(now))
    assert found is not None
    assert (found.late, found.at, found.wanted) == (late, time(at), time(wanted))


def test_an_hour_that_ends_with_the_deadline_is_not_asked_for() -> None:
    found = deadline(timedelta(hours=6), HOUR, NOON.replace(hour=5), NOON)
    assert found is not None
    assert not found.late


def test_without_a_deadline_nothing_is_late() -> None:
    assert deadline(None, DAY, None, NOON) is None


@given(st.integers(0, 1439), st.integers(0, 4 * 1440), st.integers(0, 4 * 1440), st.sampled_from([HOUR, DAY]))
def test_late_is_what_lacks_a_window_that_closed_before_a_deadline_that_passed(
    due: int, as_of: int, now: int, span: timedelta
) -> None:
    start = datetime(2024, 5, 1, tzinfo=UTC)
    at, served = start + timedelta(minutes=now), start + timedelta(minutes=as_of)
    found = deadline(timedelta(minutes=due), span, served, at)
    assert found is not None
    assert found.late == (served < found.wanted and found.at <= at)
    assert found.late == (found.at <= at)
    assert found.wanted < found.at <= found.wanted + span
    assert abs(found.at - at) <= 2 * DAY
