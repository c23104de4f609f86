"""Sources and windows that the tests of the lake share."""

from datetime import UTC, datetime, timedelta
from pathlib import Path

import polars as pl

from recsys_text.event_types import EVENT_TYPES
from recsys_text.lake.result import WriteResult
from recsys_text.lake.store import Lake
from recsys_text.lake.windows import DAY, Window, parse_window
from recsys_text.sections import Source, Sources
from recsys_text.tables import Items

DAY_1 = datetime(2024, 3, 1, tzinfo=UTC)


def make_events(count: int, *, days: int = 3, start: datetime = DAY_1) -> pl.DataFrame:
    """Distinct events spread evenly over some days, in the names of the contract."""
    step = timedelta(days=days) / count
    return pl.DataFrame(
        {
            "user_id": [f"u{number % 7}" for number in range(count)],
            "item_id": [f"i{number % 11}" for number in range(count)],
            "event_type": [("view", "click", "purchase")[number % 3] for number in range(count)],
            "occurred_at": [start + step * number for number in range(count)],
        },
        schema_overrides={"occurred_at": pl.Datetime("us", "UTC")},
    )


def window(key: str) -> Window:
    return parse_window(key, DAY)


def file_sources(folder: Path, events: Path | str, **settings: object) -> Sources:
    """An items file of one item beside the given events."""
    items = folder / "items.parquet"
    pl.DataFrame({"item_id": ["i0"], "title": ["a title"]}).write_parquet(items)
    return Sources(
        items=Source(kind="file", path=str(items)),
        events=Source.model_validate({"kind": "file", "path": str(events), **settings}),
    )


def files_of(root: Path) -> dict[str, bytes]:
    """Every file under a folder with its bytes, but for the lake's own hidden lock."""
    return {
        str(path.relative_to(root)): path.read_bytes()
        for path in root.rglob("*")
        if path.is_file() and path.name != ".lock"
    }


WINDOWS = [window(f"2024-03-0{day}") for day in (1, 2, 3)]


def typed(frame: pl.DataFrame) -> pl.DataFrame:
    """Events with all columns and types of the contract."""
    return frame.with_columns(
        pl.col("event_type").cast(pl.Enum(EVENT_TYPES)),
        value=pl.lit(None, dtype=pl.Float64),
        text=pl.lit(None, dtype=pl.String),
    )


def day_of_events(count: int = 50) -> pl.DataFrame:
    return typed(make_events(count, days=1))


def items(*rows: dict[str, object]) -> pl.DataFrame:
    """Items in the contract's types, filled up with plain values."""
    plain = {"title": "a title", "tags": [], "updated_at": DAY_1}
    return pl.DataFrame([plain | row for row in rows], schema=pl.Schema(Items))


def write(
    lake: Lake, *frames: pl.DataFrame, table: str = "events", at: Window = WINDOWS[0], **settings: object
) -> WriteResult:
    """Writes a window that refuses every broken row, unless the settings say otherwise."""
    return lake.write(table, at, frames, **{"source": "a test", "max_rejected": 0.0, "min_rows": 0, **settings})  # type: ignore[arg-type]
