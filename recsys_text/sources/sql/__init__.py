"""Reads tables and queries from databases, in batches. Knows no contract and no lake.

`:start` and `:end` in a query are the bounds of the time that is asked for, as bound parameters of the database's
own kind; text is never pasted into the query.
"""

from recsys_text.sources.sql.query import one_query
from recsys_text.sources.sql.reading import TimeColumn, describe_query, read_query
from recsys_text.sources.sql.tables import columns_of, sample_table, tables_of

__all__ = ["TimeColumn", "columns_of", "describe_query", "one_query", "read_query", "sample_table", "tables_of"]
