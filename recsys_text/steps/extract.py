"""Extract: sources to windows of the lake. Knows no model and no store."""

from collections.abc import Sequence
from datetime import UTC, datetime
from typing import Any

from recsys_text.config import Settings
from recsys_text.errors import ConfigError, ContractError
from recsys_text.lake.extract import extract_windows
from recsys_text.lake.store import Lake
from recsys_text.lake.windows import Window


def extract(settings: Settings, windows: Sequence[Window]) -> dict[str, Any]:
    """Writes each window of every table that has a source, replacing it as a whole.

    Returns {"tables": {table: {window: {"rows", "rejected", "duplicates"}}}, "changed": [window]}; the latter are those
    of which some table is not what it was. Raises ConfigError for a window that has not ended, ContractError for data
    that breaks its contract, UnavailableError for a source or a lake out of reach.
    """
    if windows[-1].end > datetime.now(UTC):
        raise ConfigError(f"window {windows[-1]} has not ended yet; extract it after {windows[-1].end:%Y-%m-%dT%H:%MZ}")
    lake = Lake(settings.lake)
    tables = [table for table, source in settings.sources if source is not None]
    before = {window.key: _digests(lake, tables, window) for window in windows}
    written = extract_windows(lake, settings.sources, windows)
    return {
        "tables": {
            table: {
                key: {"rows": result.rows, "rejected": dict(result.rejected), "duplicates": result.duplicates}
                for key, result in results.items()
            }
            for table, results in written.items()
        },
        "changed": [window.key for window in windows if before[window.key] != _digests(lake, tables, window)],
    }


def _digests(lake: Lake, tables: Sequence[str], window: Window) -> list[str | None]:
    """What each table holds of a window; None where that is nothing, or damaged."""
    digests: list[str | None] = []
    for table in tables:
        try:
            digests.append(lake.digest(table, [window.key]))
        except (ConfigError, ContractError):
            digests.append(None)
    return digests
