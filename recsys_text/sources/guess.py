"""Guess which foreign tables, and which of their columns, are what the contract asks for. Reads and writes nothing.

Names speak first, values confirm or refuse: a time must be readable as one, and the items of an event should be among
the ids of the items.
"""

import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from functools import cache, lru_cache
from itertools import filterfalse, product
from pathlib import PurePath
from typing import Any

from recsys_text.errors import ConfigError
from recsys_text.event_types import EVENT_TYPES, POSITIVE_TYPES, EventType
from recsys_text.sources import values as look
from recsys_text.sources.boundary import printable
from recsys_text.sources.cast import may_lack
from recsys_text.sources.sample import Sample
from recsys_text.tables import TABLES


@dataclass(frozen=True, kw_only=True)
class Guess:
    """What a sample is taken for: contract column -> its own column, constants, other keys of the source.

    A column that the table has by the contract's name, and that cannot be read, is "" there. `reasons` say in words
    why, by contract column or key.
    """

    table: str
    sample: Sample
    columns: dict[str, str]
    values: dict[str, str] = field(default_factory=dict)
    keys: dict[str, Any] = field(default_factory=dict)
    reasons: dict[str, str] = field(default_factory=dict)


@dataclass(frozen=True, kw_only=True)
class Tables:
    """The tables that were found, and what they say of other sections: section -> key -> (value, reason)."""

    items: Guess
    events: Guess
    impressions: Guess | None
    sections: dict[str, dict[str, tuple[str, str]]]


#: What people call the column that the contract calls by the key, the most telling name first.
_NAMES = {
    name: tuple(names.split())
    for name, names in {
        "user_id": "user_id user customer_id customer visitor_id visitor person_id person member_id member account_id "
        "account client_id client profile_id reviewer_id reviewer learner_id learner student_id student subscriber_id "
        "subscriber buyer_id buyer reader_id reader viewer_id viewer uid session_id session device_id cookie_id",
        "item_id": "item_id item product_id article_id news_id book_id movie_id film_id content_id post_id track_id "
        "song_id course_id video_id listing_id offer_id document_id doc_id recipe_id game_id asset_id job_id sku asin "
        "parent_asin isbn stock_code product_code product article book movie film news track song course video listing "
        "document recipe game id code slug url",
        "title": "title name headline product_name product_title item_name original_title label subject question "
        "short_description description",
        "description": "description long_description abstract summary overview synopsis body content plot details text "
        "about subtitle authors author",
        "tags": "tags tag genres genre keywords topics labels categories subjects",
        "category": "category category_name main_category category_id section department genre product_type "
        "product_group group type class subcategory topic",
        "published_at": "published_at publish_date published_date published publication_date pub_date release_date "
        "released_at available_from created_at created creation_date date_added added_at listed_at launch_date date",
        "expires_at": "expires_at expiry_date expires expiry expiration_date valid_until valid_to available_until "
        "end_date closes_at",
        "updated_at": "updated_at updated modified_at last_modified modified last_updated update_time",
        "event_type": "event_type event event_name interaction_type interaction action_type action behavior_type "
        "behavior behaviour activity verb type",
        "occurred_at": "occurred_at timestamp event_time event_timestamp time datetime ts unix_timestamp "
        "unix_review_time clicked_at viewed_at rated_at purchased_at ordered_at created_at created date_time date "
        "event_date order_date invoice_date purchase_date review_date at day",
        "value": "value rating score stars overall grade amount quantity price",
        "text": "text comment review review_text comment_text body message",
        "impression_id": "impression_id request_id impression list_id slate_id query_id id",
        "shown_at": "shown_at time timestamp ts impression_time served_at created_at datetime",
        "candidates": "candidates impressions items shown slate item_ids candidate_ids products",
        "clicked": "clicked labels label clicks is_clicked",
    }.items()
}
#: What systems call the types of the contract, in the letters and digits of the names alone.
_TYPES: dict[EventType, str] = {
    "view": "view pv pageview page_view impression detail seen open read visit product_view item_view watch_start",
    "click": "click clk select tap like favorite favourite fav bookmark save follow wishlist add_to_wishlist cart "
    "add_to_cart basket add_to_basket rate rating play watch content_watched listen download upvote start enroll "
    "apply contact lead",
    "comment": "comment comment_created review reply answer",
    "share": "share recommend forward retweet repost send",
    "purchase": "purchase buy bought transaction order ordered checkout sale pay payment subscribe rent complete",
    "dislike": "dislike downvote hide skip block report return refund negative unlike remove_from_cart",
}
_EVENT_TABLE = re.compile(r"event|click|rating|log|interaction|behavio|order|purchase|transaction|review|view|watch")
_ITEM_TABLE = re.compile(r"item|product|article|book|movie|film|news|content|catalog|course|track|post|doc|job|listing")
_PURCHASES = re.compile(r"order|purchase|transaction|invoice|sale|basket|payment")
_MOST_TYPES = 40
#: What values that are all known types are worth, as a name is: more than a column called `type`, less than `action`.
_KNOWN_TYPES = 0.6
#: How sure a name must make of a required column whose values do not speak for it.
_SURE = 0.5


def guess(samples: Sequence[Sample]) -> Tables:
    """Find items and events (and impressions) among the samples.

    Raises ConfigError where no table can be the items or the events; it says what each table lacks.
    """

    # A database has many tables, each of which stands beside each other here: a table is looked at once.
    @cache
    def as_items(place: int, column: str) -> float | None:
        return _items_score(samples[place], column)

    @cache
    def as_events(place: int, column: str) -> float | None:
        return _events_score(samples[place], column)

    ids = [_ids_of(sample) for sample in samples]
    pairs: list[tuple[float, int, int, tuple[str, str, float]]] = []
    for one, other in product(range(len(samples)), repeat=2):
        if joined := _joined(samples[one].name, ids[one], ids[other]):
            item_column, id_column, overlap = joined
            scores = as_items(one, id_column), as_events(other, item_column)
            if scores[0] is not None and scores[1] is not None:
                pairs.append((scores[0] + scores[1] + 2 * overlap - 2 * (one == other), one, other, joined))
    if not pairs:
        raise ConfigError(_missing(samples))
    _, one, other, (item_column, id_column, overlap) = max(pairs, key=lambda pair: pair[0])
    items, events = samples[one], samples[other]
    shown = next((each for each in samples if each not in (items, events) and _is_impressions(each)), None)
    found_items = _items(items, id_column)
    found_events = _events(events, item_column, overlap, items)
    return Tables(
        items=found_items,
        events=found_events,
        impressions=None if shown is None else _impressions(shown),
        sections=_sections(found_events),
    )


@lru_cache(maxsize=4096)
def name_score(column: str, wanted: str) -> float:
    """How well a column's name fits a contract column, from 0 to 1: an exact name first, then its last words."""
    words = _words(column)
    names = [name.split("_") for name in _NAMES[wanted]]
    best = 0.0
    for place, name in enumerate(names):
        weight = 1 - place / (2 * len(names))
        if words == name or "".join(words) == "".join(name):
            best = max(best, weight)
        elif name != ["id"] and len(name) < len(words) and words[-len(name) :] == name:
            best = max(best, 0.6 * weight)
    return best


def _score(sample: Sample, column: str, wanted: str) -> float:
    """How well the name of a column, of a field that of the column which holds it, fits a contract column."""
    return name_score(sample.fields.get(column, column), wanted)


def _words(name: str) -> list[str]:
    """The words of a name in lower case: `eventType`, `EVENT-TYPE` and `event.type` are [event, type]."""
    spaced = re.sub(r"(?<=[a-z0-9])(?=[A-Z])", " ", name)
    return re.sub(r"[\W_]+", " ", spaced).lower().split()


def _best(sample: Sample, wanted: str, taken: Sequence[str], fits: Callable[[Sequence[Any]], bool]) -> str | None:
    """The column of the best name whose values fit; None where no name fits."""
    scored = [
        (score, -place, column)
        for place, (column, values) in enumerate(sample.columns.items())
        if column not in taken and (score := _score(sample, column, wanted)) > 0 and fits(values)
    ]
    return max(scored)[2] if scored else None


def _items_score(sample: Sample, id_column: str) -> float | None:
    """How well a table whose ids are in this column is one of items; None where it cannot be."""
    title = _best(sample, "title", [id_column], look.is_text)
    if title is None:
        return None
    score = _score(sample, title, "title") + look.distinct_share(sample.columns[id_column])
    return score + bool(_ITEM_TABLE.search(sample.name.lower()))


def _events_score(sample: Sample, item_column: str) -> float | None:
    """How well a table whose items are in this column is one of events; None where it cannot be."""
    time = _time_of(sample, "occurred_at", [item_column])
    user = _user_of(sample, [item_column, *([time] if time else [])])
    if time is None or user is None:
        return None
    score = _score(sample, time, "occurred_at") + _score(sample, user, "user_id")
    return score + bool(_EVENT_TABLE.search(sample.name.lower()))


@dataclass(frozen=True, kw_only=True)
class _Ids:
    """A column that may hold ids of items: how well its name says so, its ids, and how many of these are distinct."""

    column: str
    words: list[str]
    score: float
    ids: list[str]
    distinct: frozenset[str]
    unique: float


def _ids_of(sample: Sample) -> list[_Ids]:
    found = []
    for column, values in sample.columns.items():
        score = _score(sample, column, "item_id")
        if _score(sample, column, "user_id") > score or not look.is_id_like(values):
            continue
        ids = [look.as_id(value) for value in look.known(values)]
        found.append(
            _Ids(
                column=column,
                words=_words(sample.fields.get(column, column)),
                score=score,
                ids=ids,
                distinct=frozenset(ids),
                unique=look.distinct_share(values),
            )
        )
    return found


def _joined(table: str, items: Sequence[_Ids], events: Sequence[_Ids]) -> tuple[str, str, float] | None:
    """The item column of the events, the id column of the items, and the share of the former found in the latter."""
    best: tuple[float, str, str, float] | None = None
    for left, right in product(events, items):
        same_name = left.words == right.words
        named = left.score > 0 and right.score > 0
        refers = right.score > 0 and _is_called_after(left.words, table)
        if not (named or same_name or refers):
            continue
        overlap = sum(value in right.distinct for value in left.ids) / len(left.ids)
        if not (named or overlap):
            continue
        score = left.score + right.score + 2 * overlap + 0.5 * same_name + right.unique
        if best is None or score > best[0]:
            best = score, left.column, right.column, overlap
    return best[1:] if best else None


def _is_called_after(words: Sequence[str], table: str) -> bool:
    """Whether a column is an id with the name of a table, as `question_id` is of questions.csv."""
    name, own = "".join(_words(PurePath(table).stem)), "".join(words[:-1])
    return words[-1:] == ["id"] and name in (own, f"{own}s", f"{own}es", f"{own[:-1]}ies")


def _time_of(sample: Sample, wanted: str, taken: Sequence[str]) -> str | None:
    def fits(values: Sequence[Any]) -> bool:
        # Extraction rejects a row without its time.
        some = look.known(values)
        return _is_time(values) and len(look.without(look.markers(values), some)) >= look.MOST * len(some)

    return _best(sample, wanted, taken, fits)


def _user_of(sample: Sample, taken: Sequence[str]) -> str | None:
    return _best(sample, "user_id", taken, look.is_id_like)


def _items(sample: Sample, id_column: str) -> Guess:
    columns, reasons = {"item_id": id_column}, {"item_id": _why_id(sample, id_column)}
    for wanted, fits in _ITEM_COLUMNS.items():
        found = _best(sample, wanted, list(columns.values()), fits)
        if found is not None and (wanted == "title" or _score(sample, found, wanted) >= _SURE):
            columns[wanted] = found
    keys: dict[str, Any] = {}
    times = [name for name in _TIMES if name in columns]
    _time_keys(sample, columns, times, keys, reasons)
    _readable("items", sample, columns, {}, keys, reasons)
    return Guess(table="items", sample=sample, columns=columns, keys=keys, reasons=reasons)


def _events(sample: Sample, item_column: str, overlap: float, items: Sample) -> Guess:
    time = _time_of(sample, "occurred_at", [item_column])
    assert time is not None
    user = _user_of(sample, [item_column, time])
    assert user is not None
    columns = {"user_id": user, "item_id": item_column, "occurred_at": time}
    reasons = {"item_id": f"{overlap:.0%} of them are ids of {items.name}"}
    keys: dict[str, Any] = {}
    values: dict[str, str] = {}
    kind = _type_column(sample, list(columns.values()))
    if kind is None:
        constant = "purchase" if _PURCHASES.search(sample.name.lower()) else "click"
        values["event_type"] = constant
        reasons["values"] = f"no column says what happened: each row counts as a {constant}"
    else:
        columns["event_type"] = kind
        _type_keys(sample.columns[kind], keys, reasons)
    for wanted, fits in _EVENT_COLUMNS.items():
        found = _best(sample, wanted, list(columns.values()), fits)
        if found is not None and _score(sample, found, wanted) >= _SURE:
            columns[wanted] = found
    _time_keys(sample, columns, ["occurred_at"], keys, reasons)
    _readable("events", sample, columns, values, keys, reasons)
    return Guess(table="events", sample=sample, columns=columns, values=values, keys=keys, reasons=reasons)


def _impressions(sample: Sample) -> Guess:
    columns: dict[str, str] = {}
    for wanted, fits in _IMPRESSION_COLUMNS.items():
        found = _best(sample, wanted, list(columns.values()), fits)
        if found is not None:
            columns[wanted] = found
    keys: dict[str, Any] = {}
    reasons: dict[str, str] = {}
    _time_keys(sample, columns, ["shown_at"], keys, reasons)
    return Guess(table="impressions", sample=sample, columns=columns, keys=keys, reasons=reasons)


def _is_impressions(sample: Sample) -> bool:
    lists = [_best(sample, name, (), _is_real_list) for name in ("candidates", "clicked")]
    return None not in lists and all(_best(sample, name, (), fits) for name, fits in _IMPRESSION_COLUMNS.items())


def _type_keys(values: Sequence[Any], keys: dict[str, Any], reasons: dict[str, str]) -> None:
    """Maps each type that occurs to one of the contract, and says which of them mean yes."""
    mapped = {name: _type_of(name) for name in sorted(_types_in(values))}
    renamed = {name: kind for name, kind in mapped.items() if name != kind}
    if renamed:
        keys["event_types"] = renamed
        reasons["event_types"] = "types of the first rows; name others that the log has"
    kinds = set(mapped.values())
    if not kinds & set(POSITIVE_TYPES):
        keys["positive"] = ["view"]
        reasons["positive"] = "the log has nothing that says yes more clearly than a view"
    else:
        positive = [kind for kind in EVENT_TYPES if kind in kinds and kind in POSITIVE_TYPES]
        reasons["event_type"] = f"that a user wanted an item is said by {' or '.join(positive)}; `positive` changes it"


def _type_column(sample: Sample, taken: Sequence[str]) -> str | None:
    """The column that says what happened: by its name, or, whatever its name, by values that are all known types."""
    scored = [
        (score, -place, column)
        for place, (column, values) in enumerate(sample.columns.items())
        if column not in taken
        and _is_type(values)
        and (score := max(_score(sample, column, "event_type"), _KNOWN_TYPES * _says_types(values))) > 0
    ]
    return max(scored)[2] if scored else None


def _says_types(values: Sequence[Any]) -> bool:
    """Whether nearly each row has a value, and all of these are types that systems are known to log."""
    filled = len(look.known(values)) >= look.MOST * len(values)
    return filled and all(_known_type(name) is not None for name in _types_in(values))


def _known_type(name: str) -> EventType | None:
    """The type that systems are known to call by this name."""
    words = "_".join(_words(name))
    for kind, names in _TYPES.items():
        if words in names.split() or words.replace("_", "") in names.replace("_", "").split():
            return kind
    return None


def _type_of(name: str) -> EventType:
    if known := _known_type(name):
        return known
    words = "_".join(_words(name))
    for kind in reversed(_TYPES):
        if set(words.split("_")) & {kind, f"{kind}s", f"{kind}ed"}:
            return kind
    return "view"


def _time_keys(
    sample: Sample, columns: dict[str, str], times: Sequence[str], keys: dict[str, Any], reasons: dict[str, str]
) -> None:
    """`time_unit` and `time_zone` of a source; a column that needs another unit than the first is left out."""
    for name in times:
        found = look.time_look(sample.columns[columns[name]])
        assert found is not None
        if found.unit is not None:
            if keys.setdefault("time_unit", found.unit) != found.unit:
                reasons[name] = f"'{columns.pop(name)}' counts in another unit"
                continue
            values = sample.columns[columns[name]]
            example = look.without(look.markers(values), look.known(values))[0]
            reasons["time_unit"] = f"numbers such as {example} in '{columns[name]}'"
        if found.naive:
            keys["time_zone"] = "UTC"
            reasons["time_zone"] = f"the times in '{columns[name]}' name no zone; write yours, such as 'Europe/Paris'"


def _readable(
    table: str,
    sample: Sample,
    columns: dict[str, str],
    constants: dict[str, str],
    keys: dict[str, Any],
    reasons: dict[str, str],
) -> None:
    """Lets extraction read what is there: `nulls` for texts that mean nothing, "" for a column that it cannot read.

    A column of the contract's own name is read by extraction even where no guess names it.
    """
    names = _names_read(table, sample, columns, constants)
    for name in names:
        if name not in columns and name in sample.unread and may_lack(table, name):
            columns[name], reasons[name] = "", f"not read: {sample.unread[name]}"
    there = {name: sample.columns[column] for name, column in names.items() if column in sample.columns}
    needed = [value for name, values in there.items() if not may_lack(table, name) for value in values]
    for name, values in there.items():
        if not may_lack(table, name) or columns.get(name) == "":
            continue
        marks = look.markers(values) if name in _TIMES else look.null_texts(values) if name == "value" else []
        reason = None
        if name not in columns:
            reason = reasons.get(name) or _unfit(name, look.without(marks, values))
        if reason is None and marks and len(look.without(marks, needed)) < len(needed):
            reason = f"{look.shown(marks[0])} in it is no value, but one in a column that each row needs"
        if reason is not None:
            columns[name], reasons[name] = "", f"not read: {reason}"
            continue
        if names[name] != name:
            columns[name] = names[name]
        if marks:
            keys["nulls"] = [*dict.fromkeys([*keys.get("nulls", sample.nulls), *marks])]
            reasons["nulls"] = f"such as {look.shown(marks[0])} in '{names[name]}'"


def _names_read(table: str, sample: Sample, columns: dict[str, str], constants: dict[str, str]) -> dict[str, str]:
    """The column that each column of the contract is read from: as guessed, a field of objects, or its own name."""
    roots = {root: path for path, root in sample.fields.items()}
    contract = [name for name in TABLES[table].column_names() if name not in constants]
    return {name: columns.get(name) or roots.get(name, name) for name in contract}


def _unfit(name: str, values: Sequence[Any]) -> str | None:
    """Why extraction cannot read the values as the column of the contract; None where it can, or there are none."""
    some = look.known(values)
    if name in _TIMES:
        wrong = [] if _is_time(values) else [value for value in some if not look.is_time(value)]
        kind = "time that can be read; write it as 2026-10-01T08:15:00Z"
    elif name == "tags":
        wrong = [] if look.is_list_like(values) else [value for value in some if not look.is_list_like([value])]
        kind = "list of texts"
    elif name == "value":
        wrong = [value for value in some if not look.is_number(value)]
        kind = "number"
    else:
        wrong = [value for value in some if isinstance(value, list)]
        kind = "text"
    few = len(wrong) <= (1 - look.MOST) * len(some)
    return None if few else f"{look.shown(wrong[0])} is no {kind}"


def _sections(events: Guess) -> dict[str, dict[str, tuple[str, str]]]:
    times = look.time_look(events.sample.columns[events.columns["occurred_at"]])
    if times is None or not times.dates:
        return {}
    return {"evaluation": {"at": ("window", "events have a date and no clock")}}


def _why_id(sample: Sample, column: str) -> str:
    share = look.distinct_share(sample.columns[column])
    return "each row has its own" if share == 1 else f"{1 - share:.0%} of the rows repeat one; the last row counts"


def _is_type(values: Sequence[Any]) -> bool:
    types = _types_in(values)
    return look.is_text(values) and len(types) <= _MOST_TYPES and all(len(name) <= 60 for name in types)


def _types_in(values: Sequence[Any]) -> set[str]:
    """The types of events among the values, as extraction reads them: a list is none."""
    return {str(value) for value in look.known(values) if not isinstance(value, list)}


def _is_real_list(values: Sequence[Any]) -> bool:
    return any(isinstance(value, list) for value in values) and look.is_list_like(values)


def _is_number(values: Sequence[Any]) -> bool:
    return bool(look.as_numbers(values))


def _is_time(values: Sequence[Any]) -> bool:
    return look.time_look(values) is not None


def _is_category(values: Sequence[Any]) -> bool:
    return look.is_id_like(values) and look.distinct_share(values) <= 0.5


#: The times that a table may lack.
_TIMES = ("published_at", "expires_at", "updated_at")
_ITEM_COLUMNS = {
    "title": look.is_text,
    "tags": look.is_list_like,
    "category": _is_category,
    "description": look.is_text,
    "published_at": _is_time,
    "expires_at": _is_time,
    "updated_at": _is_time,
}
_EVENT_COLUMNS = {"value": _is_number, "text": look.is_text}
_IMPRESSION_COLUMNS = {
    "impression_id": look.is_id_like,
    "user_id": look.is_id_like,
    "shown_at": _is_time,
    "candidates": look.is_list_like,
    "clicked": look.is_list_like,
}


def _missing(samples: Sequence[Sample]) -> str:
    """One line that says what is wrong with the values of each table, or what it has and lacks."""
    faults = {place: fault for place, sample in enumerate(samples) if (fault := _fault(sample))}
    lines = list(faults.values())
    for place, sample in enumerate(samples):
        has = {
            "a title": _best(sample, "title", (), look.is_text),
            "an item's id": _best(sample, "item_id", (), look.is_id_like),
            "a user": _user_of(sample, ()),
            "a time": _time_of(sample, "occurred_at", ()),
        }
        lacks = [what for what, column in has.items() if column is None]
        # Beside a table whose values are at fault, one that can be the items or the events lacks nothing.
        if place not in faults and not (
            faults and lacks in (["a user"], ["a time"], ["a user", "a time"], ["a title"])
        ):
            lines.append(f"{_described(sample)} has no column that looks like {' or '.join(lacks) or 'the others'}")
    way = "" if faults else "; run `recsys-text init` without --from and name the columns in recsys.toml"
    return (
        "found no table of items (an id and a title) and one of events (a user, an item, a time) that go together: "
        f"{'; '.join(lines)}{way}"
    )


def _fault(sample: Sample) -> str | None:
    """What is wrong with the rows of a table, or with the times of one that has users, whatever its columns are."""
    if not any(sample.columns.values()):
        return f"{_described(sample)} has no rows"
    time = _best(sample, "occurred_at", (), lambda values: bool(look.known(values)))
    if time is None or _score(sample, time, "occurred_at") < _SURE or _user_of(sample, [time]) is None:
        return None
    wrong = (
        [] if _time_of(sample, "occurred_at", ()) else [*filterfalse(look.is_time, look.known(sample.columns[time]))]
    )
    if not wrong:
        return None
    return (
        f"{_described(sample)}: {look.shown(wrong[0])} in '{printable(time)}' is no time that can be read; "
        "write it as 2026-10-01T08:15:00Z"
    )


def _described(sample: Sample) -> str:
    return f"{sample.name} ({', '.join(map(printable, sample.columns))})"
