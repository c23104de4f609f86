"""The log of impressions: what reaches its files, when, and what never stops a request."""

import signal
import threading
from datetime import UTC, datetime, timedelta
from functools import partial

import httpx
import polars as pl
import pytest

from recsys_text.lake.extract import extract_windows
from recsys_text.lake.store import Lake
from recsys_text.lake.windows import window_of
from recsys_text.sections import Source, Sources
from recsys_text.service.client import RankingClient, RankRequest
from recsys_text.service.impressions import ImpressionLog
from tests.service.conftest import process, wait_for
from tests.service.test_experiments import EXPERIMENTS


def record(log, user, candidates=("a", "b")):
    return log.record(user, list(candidates), version="v1", experiment=None, arm=None)


def logged(folder):
    return pl.read_parquet(folder / "*.parquet").sort("shown_at", "user_id")


def nothing_dropped(rows):
    raise AssertionError(f"{rows} rows were dropped")


def test_what_waits_is_written_at_the_end(tmp_path):
    log = ImpressionLog(tmp_path / "shown", nothing_dropped)
    with log.writing():
        names = [record(log, f"u{number:03d}") for number in range(450)]
    rows = logged(tmp_path / "shown")
    assert rows["impression_id"].to_list() == names
    assert len(set(names)) == 450
    assert rows["user_id"].to_list() == [f"u{number:03d}" for number in range(450)]
    assert rows["candidates"].to_list() == [["a", "b"]] * 450
    assert len(list((tmp_path / "shown").iterdir())) == 1


def test_files_are_closed_by_rows_and_by_time(tmp_path):
    by_rows = ImpressionLog(tmp_path / "rows", nothing_dropped, file_rows=10)
    with by_rows.writing():
        for number in range(25):
            record(by_rows, f"u{number:02d}")
        wait_for(lambda: len(list((tmp_path / "rows").glob("*.parquet"))) == 2)
    assert sorted(len(pl.read_parquet(path)) for path in (tmp_path / "rows").iterdir()) == [5, 10, 10]
    by_time = ImpressionLog(tmp_path / "time", nothing_dropped, file_seconds=0.05)
    with by_time.writing():
        record(by_time, "u1")
        wait_for(lambda: len(list((tmp_path / "time").glob("*.parquet"))) == 1)
        record(by_time, "u2")
        wait_for(lambda: len(list((tmp_path / "time").glob("*.parquet"))) == 2)
    assert logged(tmp_path / "time")["user_id"].to_list() == ["u1", "u2"]


def test_a_disk_that_fails_drops_what_there_is_no_room_for_and_nothing_else(tmp_path):
    place, dropped = tmp_path / "shown", []
    place.write_text("a file where a folder is expected")
    log = ImpressionLog(place, dropped.append, queued=5, file_rows=10, file_seconds=0.05)
    failed = threading.Event()

    def fill():
        record(log, "u")
        if sum(dropped) >= 7:
            failed.set()
        return failed.is_set()

    with log.writing():
        wait_for(fill, seconds=0.001)
        place.unlink()
        wait_for(lambda: place.is_dir() and list(place.glob("*.parquet")))
        lost = sum(dropped)
    assert sum(dropped) == lost
    rows = logged(place)
    assert rows["user_id"].unique().to_list() == ["u"]
    assert len(rows) >= 10


def test_what_cannot_be_written_at_the_end_is_counted(tmp_path):
    (tmp_path / "shown").write_text("a file where a folder is expected")
    dropped = []
    log = ImpressionLog(tmp_path / "shown", dropped.append)
    with log.writing():
        for _ in range(3):
            record(log, "u")
    assert dropped == [3]


def test_every_ranking_is_a_row_and_items_are_none(publish_all, serving, tmp_path):
    publish_all()
    settings = {"impressions": "shown", "experiments": EXPERIMENTS}
    with serving(**settings) as url, RankingClient(url) as client:
        before = datetime.now(UTC)
        ranking = client.rank("ann", ["i3", "i1", "nothing"], k=2, experiment="variety")
        batch = client.rank_batch([RankRequest(user_id=user, candidates=["i1"]) for user in ("ann", "nobody")])
        client.get_items("ann")
        httpx.post(f"{url}/rank", json={"user_id": "", "candidates": []})
        assert "recsys_text_impressions_dropped_total 0.0" in httpx.get(f"{url}/metrics").text
    rows = logged(tmp_path / "shown")
    assert set(rows["impression_id"]) == {answer.impression_id for answer in (ranking, *batch)}
    first = rows.row(by_predicate=pl.col("impression_id") == ranking.impression_id, named=True)
    assert (first["user_id"], first["candidates"], first["version"]) == ("ann", ["i1", "i3"], "v1")
    assert (first["experiment"], first["arm"]) == ("variety", ranking.arm)
    assert before <= first["shown_at"] <= datetime.now(UTC)


def test_a_full_log_never_fails_a_request(publish_all, serving, tmp_path, monkeypatch):
    publish_all()
    small = partial(ImpressionLog, queued=2, file_rows=1)
    monkeypatch.setattr("recsys_text.service.app.ImpressionLog", small)
    (tmp_path / "shown").write_text("a file where a folder is expected")
    with serving(impressions="shown") as url, RankingClient(url) as client:
        assert len({client.rank("ann", ["i1"]).impression_id for _ in range(30)}) == 30
        text = httpx.get(f"{url}/metrics").text
    dropped = next(line for line in text.splitlines() if line.startswith("recsys_text_impressions_dropped_total"))
    # Two wait, and the thread holds one.
    assert float(dropped.split()[1]) >= 27


def test_a_batch_that_is_refused_is_not_logged(publish, serving, tmp_path):
    publish("v1")
    asked = [{"user_id": "ann", "candidates": ["i1"]}, {"user_id": "ann", "candidates": ["i1"], "seen": True}]
    with serving(impressions="shown") as url:
        assert httpx.post(f"{url}/rank/batch", json={"requests": asked}).status_code == 422
        assert httpx.post(f"{url}/rank/batch", json={"requests": asked[:1]}).status_code == 200
    assert len(logged(tmp_path / "shown")) == 1


def test_the_log_is_a_source_of_impressions_whose_clicks_come_from_events(publish_all, serving, tmp_path):
    publish_all()
    with serving(impressions="shown") as url, RankingClient(url) as client:
        ranking = client.rank("ann", ["i3", "i1", "i2"])
    shown_at = logged(tmp_path / "shown")["shown_at"][0]
    times = [shown_at + timedelta(minutes=minutes) for minutes in (1, 2)]
    events = {"user_id": ["ann", "bob"], "item_id": ["i2", "i1"], "event_type": ["click"] * 2, "occurred_at": times}
    pl.DataFrame(events).write_parquet(tmp_path / "events.parquet")
    pl.DataFrame({"item_id": ["i1"], "title": ["One"]}).write_parquet(tmp_path / "items.parquet")

    def source(path, **settings):
        return Source.model_validate({"kind": "file", "path": str(tmp_path / path), **settings})

    sources = Sources(
        items=source("items.parquet"),
        events=source("events.parquet"),
        impressions=source("shown/*.parquet", clicks_within="1h"),
    )
    lake = Lake(tmp_path / "lake")
    days = [window_of(shown_at, timedelta(days=1)), window_of(times[0], timedelta(days=1))]
    extract_windows(lake, sources, days)
    (row,) = lake.read("impressions").to_dicts()
    assert (row["impression_id"], row["user_id"], row["shown_at"]) == (ranking.impression_id, "ann", shown_at)
    assert (row["candidates"], row["clicked"]) == (["i1", "i2", "i3"], [False, True, False])


@pytest.mark.parametrize("workers", [1, 2])
def test_a_graceful_stop_writes_what_waits(publish_all, toml, workers):
    publish_all()
    with process(toml, RECSYS_TEXT_SERVICE__IMPRESSIONS="shown", RECSYS_TEXT_SERVICE__WORKERS=str(workers)) as (
        server,
        url,
    ):
        names = set()
        for _ in range(20):
            # A connection of its own each: the workers take turns, as the system likes.
            with RankingClient(url, timeout=20) as client:
                names.add(client.rank("ann", ["i1"]).impression_id)
        server.send_signal(signal.SIGTERM)
        server.communicate(timeout=30)
    assert set(logged(toml.parent / "shown")["impression_id"]) == names


def test_a_killed_service_leaves_no_half_file(publish_all, toml):
    publish_all()
    stop = threading.Event()
    with process(toml, RECSYS_TEXT_SERVICE__IMPRESSIONS="shown") as (server, url):

        def hammer():
            body = {"requests": [{"user_id": "ann", "candidates": ["i1", "i2", "i3"] * 6}] * 100}
            with httpx.Client(base_url=url, timeout=20) as client:
                while not stop.is_set():
                    try:
                        client.post("/rank/batch", json=body)
                    except httpx.HTTPError:
                        return

        thread = threading.Thread(target=hammer)
        thread.start()
        try:
            # The first file is there after so many rows that it takes a while to write the next.
            wait_for(lambda: list((toml.parent / "shown").glob("*.parquet")), seconds=0.005, tries=24_000)
        finally:
            server.kill()
            stop.set()
            thread.join(timeout=30)
    assert logged(toml.parent / "shown")["user_id"].unique().to_list() == ["ann"]
