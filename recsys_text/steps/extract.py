"""Extract: sources to windows of the lake. Knows no model and no store."""

from collections.abc import Sequence
from datetime import UTC, datetime
from typing import Any

from recsys_text.config import Settings
from recsys_text.errors import ConfigError
from recsys_text.lake.extract import extract_windows
from recsys_text.lake.store import Lake
from recsys_text.lake.windows import Window


def extract(settings: Settings, windows: Sequence[Window]) -> dict[str, Any]:
    """Writes each window of every table that has a source, replacing it as a whole.

    Returns {"tables": {table: {window: {"rows", "rejected", "duplicates"}}}}. Raises ConfigError for a window
    that has not ended, ContractError for data that breaks its contract, UnavailableError for a source or a
    lake out of reach.
    """
    if windows[-1].end > datetime.now(UTC):
        raise ConfigError(f"window {windows[-1]} has not ended yet; extract it after {windows[-1].end:%Y-%m-%dT%H:%MZ}")
    written = extract_windows(Lake(settings.lake), settings.sources, windows)
    return {
        "tables": {
            table: {
                key: {"rows": result.rows, "rejected": dict(result.rejected), "duplicates": result.duplicates}
                for key, result in results.items()
            }
            for table, results in written.items()
        }
    }
