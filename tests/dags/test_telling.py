"""What a task's log and an asset's event say of a step."""

from recsys_text.provider import telling

NONE = {"rows": 0, "rejected": {}, "duplicates": 0, "left": 0}
EXTRACTED = {
    "tables": {
        "items": {"2017-07-01": NONE, "2017-07-02": {"rows": 3, "rejected": {}, "duplicates": 1, "left": 2}},
        "events": {
            "2017-07-01": {"rows": 1000, "rejected": {"time": 1, "event_type": 2}, "duplicates": 0, "left": 0},
            "2017-07-02": {"rows": 500, "rejected": {"time": 4}, "duplicates": 0, "left": 0},
        },
    },
    "changed": ["2017-07-02"],
}


def test_extract_tells_rows_and_rejects_by_rule() -> None:
    assert telling.extracted(EXTRACTED) == [
        "items 2017-07-01 to 2017-07-02: 3 rows, 0 rejected, 1 duplicates, 2 left",
        "events 2017-07-01 to 2017-07-02: 1,500 rows, 7 rejected (2 event_type, 5 time), 0 duplicates",
        "Changed: 2017-07-02",
    ]
    assert telling.landed([EXTRACTED], "events") == {
        "windows": ["2017-07-01", "2017-07-02"],
        "rows": 1500,
        "rejected": {"event_type": 2, "time": 5},
        "duplicates": 0,
        "left": 0,
        "changed": 1,
    }


def test_extract_tells_that_nothing_changed_and_is_short() -> None:
    assert telling.extracted(EXTRACTED | {"changed": []})[-1] == "No window is other than it was"
    many = [f"2017-07-{day:02d}" for day in range(1, 31)]
    assert telling.extracted(EXTRACTED | {"changed": many})[-1].endswith("2017-07-05 and 25 more")


def test_gate_tells_the_verdict() -> None:
    refused = {"promoted": False, "version": "3", "reason": "gain -0.1", "gain": -0.1, "low": -0.2, "high": 0.0}
    assert telling.judged(refused) == ["Version 3 is refused, and there is no champion: gain -0.1"]
    assert telling.judged(refused | {"champion": "2"}) == ["Version 3 is refused, the champion stays: gain -0.1"]
    assert telling.judged(refused | {"promoted": True}) == ["Version 3 is champion now: gain -0.1"]
    assert telling.promoted(refused) == {"version": "3", "reason": "gain -0.1", "gain": -0.1, "low": -0.2, "high": 0.0}
    first = {"promoted": True, "version": "1", "reason": "there was no champion"}
    assert telling.promoted(first) == {"version": "1", "reason": "there was no champion"}


def test_publish_tells_version_and_users() -> None:
    assert telling.published({"swapped": True, "version": "v2", "users": 2000, "left": 0}) == [
        "Published v2: the scores of 2,000 users"
    ]
    assert telling.published({"swapped": True, "version": "v2", "users": 2000, "left": 1200})[1:] == [
        "1,200 items have left the catalogue"
    ]
    assert telling.published({"swapped": False, "version": "v1", "users": 0, "served": "v2"}) == [
        "v1 was published before; v2 is served"
    ]


def test_monitor_tells_what_holds_for_all() -> None:
    rows = [
        {"metric": "ndcg@10", "slice": "all", "value": 0.25},
        {"metric": "ndcg@10", "slice": "new user", "value": 0.5},
        {"metric": "users", "slice": "all", "value": 12.0},
    ]
    result = {"window": "2017-07-02", "version": "v1", "rows": rows}
    assert telling.measured(result) == ["v1 against the clicks of 2017-07-02: ndcg@10 0.25, users 12"]
    assert telling.quality(result) == {"window": "2017-07-02", "version": "v1", "ndcg@10": 0.25, "users": 12.0}
