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


def test_every_list_that_is_shown_is_a_row(publish_all, serving, tmp_path):
    publish_all()
    settings = {"impressions": "shown", "experiments": EXPERIMENTS}
    with serving(**settings) as url, RankingClient(url) as client:
        before = datetime.now(UTC)
        ranking = client.rank("ann", ["i3", "i1", "nothing"], k=2, experiment="variety")
        batch = client.rank_batch([RankRequest(user_id=user, candidates=["i1"]) for user in ("ann", "nobody")])
        best, popular = client.get_items("ann", 2), client.get_items("nobody", 1, fallback="popular")
        unshown = [client.get_items("bob"), client.get_items("nobody"), client.rank("ann", ["i1"], exclude=["i1"])]
        httpx.post(f"{url}/rank", json={"user_id": "", "candidates": []})
        httpx.get(f"{url}/explore/user?id=ann")
        assert "recsys_text_impressions_dropped_total 0.0" in httpx.get(f"{url}/metrics").text
    rows = logged(tmp_path / "shown")
    assert [answer.impression_id for answer in unshown] == [None] * 3
    assert rows["impression_id"].to_list() == [answer.impression_id for answer in (ranking, *batch, best, popular)]
    first, _, _, fourth, fifth = rows.to_dicts()
    assert (first["user_id"], first["candidates"], first["version"]) == ("ann", ["i1", "i3"], "v1")
    assert (first["experiment"], first["arm"]) == ("variety", ranking.arm)
    assert (fourth["user_id"], fourth["candidates"], fourth["version"]) == ("ann", ["i1", "i2"], "v1")
    assert (fourth["experiment"], fourth["arm"]) == (None, None)
    assert (fifth["user_id"], fifth["candidates"]) == ("nobody", [item.item_id for item in popular.items])
    assert before <= rows["shown_at"].min() <= rows["shown_at"].max() <= datetime.now(UTC)


def test_without_a_log_nothing_has_an_id(publish_all, serving, tmp_path):
    publish_all()
    with serving() as url, RankingClient(url) as client:
        assert (client.rank("ann", ["i1"]).impression_id, client.get_items("ann").impression_id) == (None, None)
    assert not (tmp_path / "shown").exists()


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


def named(time, number=0, form="{}.parquet"):
    return form.format(f"{time:%Y%m%dT%H%M%S}-{number:016x}")


def test_a_file_is_removed_once_it_is_old_whoever_wrote_it(tmp_path):
    now, day = datetime.now(UTC), timedelta(days=1)
    unfinished = ".{}.parquet.unfinished"
    old = [named(now - 3 * day), named(now - 30 * day, 1), named(now - 3 * day, 2, unfinished)]
    young = [named(now - day), named(now, 1), named(now + 5 * day, 2), named(now, 3, unfinished)]
    foreign = [
        "items.parquet",
        named(now - 9 * day, 4, "copy-of-{}.parquet"),
        named(now - 9 * day, 5, "{}.parquet.bak"),
    ]
    for name in [*old, *young, *foreign]:
        (tmp_path / name).touch()
    log = ImpressionLog(tmp_path, nothing_dropped, keep=2 * day)
    assert {path.name for path in tmp_path.iterdir()} == {*old, *young, *foreign}
    with log.writing():
        record(log, "u")
    (written,) = {path.name for path in tmp_path.iterdir()} - {*young, *foreign}
    assert pl.read_parquet(tmp_path / written)["user_id"].to_list() == ["u"]


def test_old_files_stay_where_nothing_says_how_long(tmp_path):
    old = tmp_path / named(datetime(2014, 3, 18, tzinfo=UTC))
    old.touch()
    log = ImpressionLog(tmp_path, nothing_dropped)
    with log.writing():
        record(log, "u")
    assert old.exists()


def test_a_folder_is_looked_through_once_an_hour(tmp_path):
    old = tmp_path / named(datetime(2014, 3, 18, tzinfo=UTC))
    log = ImpressionLog(tmp_path, nothing_dropped, keep=timedelta(days=1), file_rows=1)
    with log.writing():
        for _ in range(2):
            record(log, "u")
        # The second file is written after the look that followed the first.
        wait_for(lambda: len(list(tmp_path.glob("*.parquet"))) == 2)
        old.touch()
        record(log, "u")
    assert old.exists()
    assert len(list(tmp_path.glob("*.parquet"))) == 4


def test_a_file_that_cannot_be_removed_stops_nothing(tmp_path, caplog):
    blocked = tmp_path / named(datetime(2014, 3, 18, tzinfo=UTC))
    blocked.mkdir()
    log = ImpressionLog(tmp_path, nothing_dropped, keep=timedelta(days=1))
    with log.writing():
        record(log, "u")
    assert "cannot remove impressions" in caplog.text
    assert blocked.exists()


def test_the_service_removes_what_its_settings_say(publish_all, serving, tmp_path):
    publish_all()
    now = datetime.now(UTC)
    old, young = (tmp_path / "shown" / named(now - timedelta(days=days)) for days in (8, 6))
    old.parent.mkdir()
    old.touch()
    young.touch()
    with serving(impressions="shown", keep_impressions="7d") as url, RankingClient(url) as client:
        client.rank("ann", ["i1"])
    assert (old.exists(), young.exists()) == (False, True)


def test_a_killed_service_leaves_no_half_file(publish_all, toml):
    publish_all()
    stop = threading.Event()
    with process(toml, RECSYS_TEXT_SERVICE__IMPRESSIONS="shown") as (server, url):

        def hammer():
            body = {"requests": [{"user_id": "ann", "candidates": [f"i{n}" for n in range(18)]}] * 100}
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
