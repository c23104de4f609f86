"""A small store made by hand: three views of books in few dimensions, whose likeness and scores are worked out here."""

from collections.abc import Sequence
from datetime import UTC, datetime, timedelta
from pathlib import Path

import numpy as np
import pyarrow as pa

import feature_store

HOSTILE_TITLE = '"><script>alert(1)</script><img src=x onerror=alert(2)>{{ 7 * 7 }}'
HOSTILE_ID = "../a b/?c=d&e#f%2F'\"><b>"

#: id, title, category, vector, popular (None: not in the pool).
ITEMS: Sequence[tuple[str, str, str | None, tuple[float, float], float | None]] = (
    ("old", "The darkness before Emma", None, (-1.0, 0.0), None),
    ("dune", "Dune", "science fiction", (1.0, 0.0), 0.5),
    ("hand", "The left hand of darkness", "science fiction", (0.9, 0.1), 0.4),
    ("emma", "Emma", "classics", (0.0, 1.0), 0.3),
    ("pride", "Pride and prejudice", "classics", (0.1, 0.9), 0.25),
    ("three", "三体", "science fiction", (0.8, 0.3), 0.2),
    (HOSTILE_ID, HOSTILE_TITLE, None, (0.5, 0.5), 0.1),
)

#: id, stored (item, score, interest).
SCORES = {
    "ann": [("hand", 0.75, 2.0), (HOSTILE_ID, 0.5, 1.0), ("three", 0.25, 0.5), ("gone", 0.125, 0.25)],
    "bob": [],
    HOSTILE_ID: [("dune", 0.5, 1.0)],
}
#: id, vector, clicked items, the newest last. Carl has no stored scores.
USERS = {
    "ann": ((1.0, 0.0), ["emma", "dune"]),
    "carl": ((0.0, 2.0), ["emma"]),
}

MATCH = '{"level": -1.0, "interest": 1.0, "popular": 0.5}'


def publish(
    folder: Path, version: str, *, model: str = "7", hours: float = 1.0, near: bool = False, scores: bool = True
) -> None:
    """Commits a version of all three views, as of `hours` ago, as a publication does: the scores last."""
    _commit(folder, "item_vectors", version, item_rows(near), model, hours)
    rows = list(USERS.items())
    _commit(
        folder,
        "user_vectors",
        version,
        pa.record_batch(
            {
                "user_id": [user for user, _ in rows],
                "vector": vectors([vector for _, (vector, _) in rows]),
                "history": pa.array([clicked for _, (_, clicked) in rows], pa.list_(pa.string())),
            }
        ),
        model,
        hours,
    )
    if scores:
        publish_scores(folder, version, model=model, hours=hours)


def publish_scores(
    folder: Path, version: str, *, model: str = "7", hours: float = 1.0, checks: feature_store.Checks | None = None
) -> None:
    places = [[[line[place] for line in lines] for lines in SCORES.values()] for place in range(3)]
    batch = pa.record_batch(
        {
            "user_id": list(SCORES),
            "item_id": pa.array(places[0], pa.list_(pa.string())),
            "score": pa.array(places[1], pa.list_(pa.float32())),
            "interest": pa.array(places[2], pa.list_(pa.float32())),
        }
    )
    _commit(folder, "user_scores", version, batch, model, hours, checks)


def item_rows(near: bool = False) -> pa.RecordBatch:
    ids, titles, categories, directions, popular = zip(*ITEMS, strict=True)
    columns = {
        "item_id": pa.array(ids),
        "vector": vectors(directions),
        "title": pa.array(titles),
        "category": pa.array(categories, pa.string()),
        "popular": pa.array(popular, pa.float32()),
    }
    if near:
        columns["near"] = pa.array([["emma", "gone"] if item == "dune" else [] for item in ids], pa.list_(pa.string()))
    return pa.record_batch(columns)


def vectors(rows: Sequence[Sequence[float]]) -> pa.Array:
    return pa.FixedSizeListArray.from_arrays(pa.array(np.ravel(rows).astype(np.float16)), 2)


def _commit(
    folder: Path,
    view: str,
    version: str,
    batch: pa.RecordBatch,
    model: str,
    hours: float,
    checks: feature_store.Checks | None = None,
) -> None:
    store = feature_store.open_store(f"file:{folder}")
    with store.begin(view, version).writer("part-0") as writer:
        writer.write(batch)
    as_of = datetime.now(UTC).replace(microsecond=0) - timedelta(hours=hours)
    metadata = {"as_of": as_of.isoformat(), "model_version": model, "match": MATCH}
    store.commit(view, version, expect_parts=["part-0"], metadata=metadata, checks=checks)
