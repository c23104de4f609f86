"""Foreign files and databases to contract rows: where foreign data and errors end. Knows no lake."""

from recsys_text.sources.reading import depends_on_span, describe, read_rows

__all__ = ["depends_on_span", "describe", "read_rows"]
