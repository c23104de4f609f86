"""Tables as people have them: which are items and events, and what each column is."""

from datetime import UTC, datetime
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from recsys_text.errors import ConfigError
from recsys_text.sources.guess import Tables, guess, name_score
from recsys_text.sources.sample import Sample
from recsys_text.sources.values import time_look

Columns = dict[str, list[Any]]
TITLES = ["The Old Man and the Sea", "Dune", "Emma", "Ulysses"]
WHO = ["u1", "u2", "u1", "u3"]


def table(name: str, columns: Columns) -> Sample:
    return Sample(name=name, columns=columns, source={"kind": "file", "path": name})


def found(items: Columns, events: Columns, *, names: tuple[str, str] = ("a.csv", "b.csv")) -> Tables:
    # Whatever the order in which they are given.
    one = guess([table(names[0], items), table(names[1], events)])
    other = guess([table(names[1], events), table(names[0], items)])
    assert (one.items, one.events) == (other.items, other.events)
    return one


LOGS: dict[str, tuple[Columns, Columns, dict[str, str], dict[str, str], dict[str, Any]]] = {
    "films": (
        {"movieId": ["1", "2", "3", "4"], "title": TITLES, "genres": ["Drama|War", "Sci-Fi", "Romance", "Drama"]},
        {
            "userId": WHO,
            "movieId": ["1", "2", "2", "4"],
            "rating": ["4.0", "3.5", "5", "1"],
            "timestamp": ["1094785740"] * 4,
        },
        {"item_id": "movieId", "title": "title", "tags": "genres"},
        {"user_id": "userId", "item_id": "movieId", "occurred_at": "timestamp", "value": "rating"},
        {"time_unit": "s"},
    ),
    "shop": (
        {
            "sku": ["A-1", "A-2", "B-7", "C-9"],
            "product_name": TITLES,
            "department": ["x", "x", "x", "y"],
            "price": [1.5, 2, 3, 9],
        },
        {
            "customer": [17, 18, 17, 19],
            "product": ["A-1", "B-7", "A-1", "A-2"],
            "action": ["view", "add_to_cart", "buy", "wish"],
            "ts": [1_498_867_200_000 + n for n in range(4)],
        },
        {"item_id": "sku", "title": "product_name", "category": "department"},
        {"user_id": "customer", "item_id": "product", "occurred_at": "ts", "event_type": "action"},
        {"time_unit": "ms", "event_types": {"add_to_cart": "click", "buy": "purchase", "wish": "view"}},
    ),
    "visits": (
        {"itemid": [1, 2, 3, 4], "name": TITLES, "description": ["a b", "c d", "e f", "g h"]},
        {
            "timestamp": [1_433_221_332_117] * 4,
            "visitorid": [1, 2, 3, 4],
            "event": ["view", "addtocart", "transaction", "view"],
            "itemid": [4, 3, 2, 1],
        },
        {"item_id": "itemid", "title": "name", "description": "description"},
        {"user_id": "visitorid", "item_id": "itemid", "occurred_at": "timestamp", "event_type": "event"},
        {"time_unit": "ms", "event_types": {"addtocart": "click", "transaction": "purchase"}},
    ),
    "articles": (
        {
            "id": [7, 8, 9, 10],
            "headline": TITLES,
            "abstract": TITLES,
            "section": ["a", "a", "b", "a"],
            "created": ["2020-01-01T10:00:00Z"] * 4,
        },
        {"reader": ["x", "y", "x", "z"], "article": [7.0, 8.0, 7.0, 10.0], "at": ["2020-01-02 10:00:00"] * 4},
        {
            "item_id": "id",
            "title": "headline",
            "description": "abstract",
            "category": "section",
            "published_at": "created",
        },
        {"user_id": "reader", "item_id": "article", "occurred_at": "at"},
        {"time_zone": "UTC"},
    ),
    "typed times": (
        {"contentId": [-3499919498720038879, 2, 3, 4], "title": TITLES},
        {
            "ts": [datetime(2016, 6, 8, 19, tzinfo=UTC)] * 4,
            "eventType": ["VIEW", "VIEW", "LIKE", "COMMENT CREATED"],
            "contentId": [-3499919498720038879, 2, 2, 3],
            "personId": [-8845298781299428018, 5, 6, 7],
            "sessionId": [1, 2, 3, 4],
        },
        {"item_id": "contentId", "title": "title"},
        {"user_id": "personId", "item_id": "contentId", "occurred_at": "ts", "event_type": "eventType"},
        {"event_types": {"VIEW": "view", "LIKE": "click", "COMMENT CREATED": "comment"}},
    ),
}


@pytest.mark.parametrize("log", LOGS)
def test_tables_as_people_have_them(log: str) -> None:
    items, events, item_columns, event_columns, keys = LOGS[log]
    tables = found(items, events)
    assert (tables.items.columns, tables.events.columns) == (item_columns, event_columns)
    assert tables.events.keys == keys


@pytest.mark.parametrize(
    ("table", "column"),
    [("questions.csv", "QuestionId"), ("story.parquet", "story_id"), ("recetas", "receta_id"), ("entries", "entryID")],
)
def test_an_id_may_be_called_after_the_table_of_the_items(table: str, column: str) -> None:
    events = {"user": WHO, "order_id": [1, 2, 3, 4], column: [4, 4, 2, 1], "time": ["2020-01-02 10:00:00Z"] * 4}
    tables = found({"id": [1, 2, 3, 4], "title": TITLES}, events, names=(table, "log.csv"))
    assert (tables.items.columns["item_id"], tables.events.columns["item_id"]) == ("id", column)
    with pytest.raises(ConfigError, match="an item's id"):
        found({"id": [1, 2, 3, 4], "title": TITLES}, events, names=("things.csv", "log.csv"))


def test_a_log_of_views_alone_counts_views() -> None:
    events = {"user": WHO, "item_id": [1, 2, 3, 4], "event": ["view"] * 4, "time": ["2020-01-02 10:00:00Z"] * 4}
    tables = found({"item_id": [1, 2, 3, 4], "title": TITLES}, events)
    assert tables.events.keys["positive"] == ["view"]


@pytest.mark.parametrize(("name", "kind"), [("orders.csv", "purchase"), ("ratings.csv", "click")])
def test_rows_without_a_type_are_what_the_table_is_called(name: str, kind: str) -> None:
    events = {"user": WHO, "item_id": [1, 2, 3, 4], "time": ["2020-01-02 10:00:00Z"] * 4}
    tables = found({"item_id": [1, 2, 3, 4], "title": TITLES}, events, names=("things.csv", name))
    assert tables.events.values == {"event_type": kind}


@pytest.mark.parametrize("name", ["kind", "what", "interaction_kind", "status", "source", "verbs", "x1", "class"])
@pytest.mark.parametrize(
    ("types", "keys"),
    [
        (["view", "view", "click", "purchase"], {}),
        (["VIEW", "Add to cart", "view", "Bought"], {"VIEW": "view", "Add to cart": "click", "Bought": "purchase"}),
        (["pageview", "pv", "pv", "pageview"], {"pageview": "view", "pv": "view"}),
    ],
)
def test_a_column_of_known_types_says_what_happened_whatever_its_name(
    name: str, types: list[str], keys: dict[str, str]
) -> None:
    events = {"user_id": WHO, "item_id": [1, 2, 3, 4], name: types, "occurred_at": ["2020-01-02 10:00:00Z"] * 4}
    tables = found({"item_id": [1, 2, 3, 4], "title": TITLES}, events)
    assert tables.events.columns["event_type"] == name
    assert tables.events.values == {}
    assert tables.events.keys.get("event_types", {}) == keys


@pytest.mark.parametrize(
    "others",
    [
        {"kind": ["view", "view", "desk", "click"]},
        {"kind": ["return", None, None, None]},
        {"kind": [1, 2, 1, 2]},
        {"kind": [["view"], ["click"], [], []]},
    ],
)
def test_a_column_that_says_other_things_too_is_not_what_happened(others: Columns) -> None:
    events = {"user_id": WHO, "item_id": [1, 2, 3, 4], "occurred_at": ["2020-01-02 10:00:00Z"] * 4}
    tables = found({"item_id": [1, 2, 3, 4], "title": TITLES}, events | others)
    assert tables.events.values == {"event_type": "click"}


@pytest.mark.parametrize(
    ("name", "types", "other", "values"),
    [
        ("action", ["view", "wish", "buy", "view"], "state", ["complete"] * 4),
        ("event_type", ["web", "opened", "x", "y"], "kind", ["view", "click"] * 2),
        ("kind", ["view", "click"] * 2, "type", ["web", "phone"] * 2),
    ],
)
def test_a_telling_name_comes_before_values_and_these_before_a_weak_name(
    name: str, types: list[str], other: str, values: list[str]
) -> None:
    events = {"user_id": WHO, "item_id": [1, 2, 3, 4], other: values, name: types, "time": ["2020-01-02 10:00:00Z"] * 4}
    tables = found({"item_id": [1, 2, 3, 4], "title": TITLES}, events)
    assert tables.events.columns["event_type"] == name


def test_one_table_can_be_both() -> None:
    both = {"user": WHO, "item": [1, 2, 2, 4], "title": TITLES, "time": ["2020-01-02 10:00:00Z"] * 4}
    tables = guess([table("log.csv", both)])
    assert (tables.items.sample.name, tables.events.sample.name) == ("log.csv", "log.csv")


def test_logged_impressions_are_found_beside_the_events() -> None:
    shown = {
        "impression_id": [1, 2],
        "user_id": ["u1", "u2"],
        "time": ["2020-01-02 10:00:00Z"] * 2,
        "candidates": [["1", "2"], ["3", "4"]],
        "labels": [[0, 1], [1, 0]],
    }
    events = {"user": WHO, "item_id": [1, 2, 3, 4], "time": ["2020-01-02 10:00:00Z"] * 4}
    samples = [table("i", {"item_id": [1, 2, 3, 4], "title": TITLES}), table("e", events), table("s", shown)]
    tables = guess(samples)
    assert tables.impressions is not None
    assert tables.impressions.columns["clicked"] == "labels"
    assert tables.events.sample.name == "e"


@pytest.mark.parametrize("lacking", ["title", "user", "time"])
def test_what_is_missing_is_said_with_the_columns_that_there_are(lacking: str) -> None:
    items = {"item_id": [1, 2, 3, 4], "title": TITLES}
    events = {"user": WHO, "item_id": [1, 2, 3, 4], "time": ["2020-01-02 10:00:00Z"] * 4}
    items.pop(lacking, None)
    events.pop(lacking, None)
    with pytest.raises(ConfigError) as caught:
        guess([table("i.csv", items), table("e.csv", events)])
    assert f"a {lacking}" in str(caught.value)
    assert "e.csv (" in str(caught.value)


@pytest.mark.parametrize("name", ["occurred_at", "timestamp", "eventTime", "created_at"])
@pytest.mark.parametrize(
    "value",
    ["10/01/2026 08:15 AM", "01.10.2026", "2026-10-01 8:15", 20261001, "20261001", "yesterday", "2026-13-01", "-"],
)
def test_times_that_cannot_be_read_are_told_with_their_column_and_a_way_to_write_them(name: str, value: Any) -> None:
    items = table("i.csv", {"item_id": [1, 2, 3, 4], "title": TITLES, "published_at": ["2026-10-01"] * 4})
    events = table("e.csv", {"user_id": WHO, "item_id": [1, 2, 3, 4], "event_type": ["view"] * 4, name: [value] * 4})
    with pytest.raises(ConfigError) as caught:
        guess([items, events])
    told = str(caught.value)
    assert f"'{value}' in '{name}' is no time that can be read; write it as 2026-10-01T08:15:00Z" in told
    assert "no column that looks like" not in told
    assert "name the columns" not in told


@pytest.mark.parametrize("empty", [("i.csv",), ("e.csv",), ("i.csv", "e.csv")])
def test_tables_without_rows_are_told_as_such(empty: tuple[str, ...]) -> None:
    columns: dict[str, Columns] = {
        "i.csv": {"item_id": [1, 2, 3, 4], "title": TITLES},
        "e.csv": {"user_id": WHO, "item_id": [1, 2, 3, 4], "occurred_at": ["2020-01-02 10:00:00Z"] * 4},
    }
    samples = [
        table(name, {column: [] if name in empty else values for column, values in own.items()})
        for name, own in columns.items()
    ]
    with pytest.raises(ConfigError) as caught:
        guess(samples)
    assert all(f"{name} ({', '.join(columns[name])}) has no rows" in str(caught.value) for name in empty)
    assert "no column that looks like" not in str(caught.value)


@given(st.sampled_from(["user_id", "item_id", "occurred_at"]), st.sampled_from(["_", "-", " ", "."]), st.booleans())
def test_how_a_name_is_spelled_does_not_matter(name: str, mark: str, upper: bool) -> None:
    spelled = name.replace("_", mark)
    assert name_score(spelled.upper() if upper else spelled, name) == 1


@given(st.datetimes(datetime(1996, 1, 1), datetime(2039, 1, 1)), st.sampled_from([("s", 1), ("ms", 1e3), ("us", 1e6)]))
def test_the_unit_of_a_number_is_found_by_its_size(time: datetime, unit: tuple[str, float]) -> None:
    number = int(time.replace(tzinfo=UTC).timestamp() * unit[1])
    for value in (number, str(number), float(number)):
        look = time_look([value])
        assert look is not None
        assert look.unit == unit[0]


@pytest.mark.parametrize("values", [["yesterday"], [3, 4], ["12"], [True], [None], [], ["2020-01-01", "no", "no"]])
def test_what_is_no_time_is_none(values: list[Any]) -> None:
    assert time_look(values) is None


NUMBERS = st.integers(-(10**420), 10**420) | st.floats() | st.decimals(allow_nan=True)
VALUES = (
    st.none()
    | st.booleans()
    | NUMBERS
    | st.text(max_size=10)
    | st.datetimes()
    | st.datetimes(timezones=st.just(UTC))
    | st.dates()
    | st.lists(st.none() | st.booleans() | NUMBERS | st.text(max_size=10), max_size=3)
    | st.sampled_from(["2020-01-01", "1e999", "9" * 400, "infinity", "NaN", "0\x1f", "\u0663"])
)
NAMES = st.sampled_from(["user_id", "item_id", "title", "occurred_at", "event_type", "tags", "value", "candidates"])
COLUMNS = st.dictionaries(NAMES | st.text(max_size=5), st.lists(VALUES, max_size=4), max_size=5)


@given(COLUMNS, COLUMNS)
def test_whatever_the_values_are_there_are_tables_or_one_line(items: Columns, events: Columns) -> None:
    plain: Columns = {"item_id": ["1", "2"], "title": ["a", "b"], "user_id": ["1", "1"], "occurred_at": ["2020-01-01"]}
    try:
        tables = guess([table("items", plain | items), table("events", plain | events)])
    except ConfigError as error:
        told = str(error)
    else:
        told = ", ".join(tables.items.columns)
    assert told.isprintable()


def test_a_table_is_looked_at_once_however_many_others_there_are(monkeypatch: pytest.MonkeyPatch) -> None:
    looks: list[int] = []

    def counted(values: list[Any]) -> Any:
        looks.append(len(values))
        return time_look(values)

    monkeypatch.setattr("recsys_text.sources.values.time_look", counted)
    both: Columns = {"user": WHO, "item": [1, 2, 2, 4], "title": TITLES, "time": ["2020-01-02 10:00:00Z"] * 4}
    guess([table(f"t{number}", both) for number in range(30)])
    assert len(looks) < 60
