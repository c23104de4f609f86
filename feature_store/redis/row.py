"""One packed row, whose values are unpacked when they are asked for. Knows the form, no server."""

from typing import TYPE_CHECKING, Any

import numpy as np

from feature_store.base import Key
from feature_store.errors import InvalidInput
from feature_store.redis.columns import ARROW, NULL, Column
from feature_store.row import Row

if TYPE_CHECKING:
    from feature_store.redis.table import Table


class PackedRow(Row):
    """See Row. It holds the bytes as they came and needs no server any more."""

    __slots__ = ("_key", "_table", "_value")

    def __init__(self, table: "Table", key: Key, value: bytes) -> None:
        self._table = table
        self._key = key
        self._value = value

    @property
    def names(self) -> tuple[str, ...]:
        return self._table.names

    def __getitem__(self, name: str) -> Any:
        if name == self._table.names[0]:
            return self._key
        column, length, start = self._find(name)
        return self._table.value(column, length, self._value[start : start + column.size(length)])

    def first(self, column: str, count: int) -> list[Any] | None:
        if column == self._table.names[0]:
            raise InvalidInput(f"column '{column}' holds no lists; take row['{column}']")
        found, length, start = self._find(column)
        if not found.is_list:
            raise InvalidInput(f"column '{column}' holds {found.type} and no lists; take row['{column}']")
        if length < NULL or found.kind == "other":
            whole = self[column]
            return None if whole is None else list(whole[: max(0, count)])
        length = min(length, max(0, count)) if length != NULL else NULL
        values = self._table.value(found, length, self._value[start : start + found.size(length)])
        return None if values is None else list(values)

    def numpy(self, column: str) -> Any:
        if column == self._table.names[0] or self._find(column)[0].kind != "numbers":
            raise InvalidInput(f"column '{column}' holds no lists of numbers; take row['{column}']")
        found, length, start = self._find(column)
        if length == NULL:
            return None
        if length <= ARROW:
            # A null among the numbers has no place in an array of them but NaN, as pyarrow does it.
            array = np.array([np.nan if value is None else value for value in self[column]])
            array.flags.writeable = False
            return array
        return np.frombuffer(self._value, dtype=found.dtype, count=length, offset=start)

    def _find(self, name: str) -> tuple[Column, int, int]:
        """A column, its value's length, and where that starts. Raises KeyError for an unknown name."""
        table = self._table
        place = table.places[name]
        lengths = table.head.unpack_from(self._value)
        start = table.head.size
        for before in range(place):
            start += table.columns[before].size(lengths[before])
        return table.columns[place], lengths[place], start
