"""Foreign files and databases to contract rows: where foreign data and errors end. Knows no lake."""

from recsys_text.sources.reading import describe, read_rows

__all__ = ["describe", "read_rows"]
