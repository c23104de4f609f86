"""The values of one column of one record batch, a row at a time. Knows no keys and no files."""

from collections.abc import Sequence
from typing import Any, Protocol

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from feature_store.errors import InvalidInput
from feature_store.row import Row
from feature_store.schema import CODED, is_list


class Column(Protocol):
    """One column of one batch."""

    def value(self, row: int) -> Any:
        """The value as a Python object."""

    def first(self, row: int, count: int) -> list[Any] | None:
        """See Row.first."""

    def numpy(self, row: int) -> Any:
        """See Row.numpy."""


class PlainColumn:
    """Values of any type, by Arrow's own conversion."""

    def __init__(self, array: Any) -> None:
        self._array = array
        self._lists = is_list(array.type)

    def value(self, row: int) -> Any:
        return self._array[row].as_py()

    def first(self, row: int, count: int) -> list[Any] | None:
        if not self._lists:
            raise InvalidInput(f"a column of {self._array.type} holds no lists; ask for its value")
        values = self._array[row].values
        return None if values is None else values[:count].to_pylist()

    def numpy(self, row: int) -> Any:
        raise InvalidInput(f"a column of {self._array.type} is no list of numbers without gaps; ask for its value")


class ListColumn:
    """Lists of numbers, or of coded strings, without a null among their values: several times quicker than by Arrow.

    strings: what the codes stand for; None for numbers.
    """

    def __init__(self, array: Any, strings: Sequence[str] | None) -> None:
        self.values, self.offsets = _parts(array)
        # Views that give Python integers: several times quicker for one row than numpy's scalars.
        self.bounds = self.offsets.data
        self._strings = strings
        self.valid = None if array.null_count == 0 else array.is_valid().to_numpy(zero_copy_only=False)

    def value(self, row: int) -> list[Any] | None:
        if self.valid is not None and not self.valid[row]:
            return None
        return self._python(self.values[self.bounds[row] : self.bounds[row + 1]])

    def first(self, row: int, count: int) -> list[Any] | None:
        if self.valid is not None and not self.valid[row]:
            return None
        start = self.bounds[row]
        return self._python(self.values[start : min(start + count, self.bounds[row + 1])])

    def numpy(self, row: int) -> Any:
        if self._strings is not None:
            raise InvalidInput("a list of strings holds no numbers; ask for its value")
        if self.valid is not None and not self.valid[row]:
            return None
        return self.values[self.bounds[row] : self.bounds[row + 1]]

    def _python(self, values: Any) -> list[Any]:
        found: list[Any] = values.tolist()
        return found if self._strings is None else list(map(self._strings.__getitem__, found))


class LocalRow(Row):
    """A row of a batch."""

    __slots__ = ("_columns", "_row")

    def __init__(self, columns: dict[str, Column], row: int) -> None:
        self._columns = columns
        self._row = row

    def __getitem__(self, column: str) -> Any:
        return self._columns[column].value(self._row)

    @property
    def names(self) -> tuple[str, ...]:
        return tuple(self._columns)

    def first(self, column: str, count: int) -> list[Any] | None:
        return self._columns[column].first(self._row, count)

    def numpy(self, column: str) -> Any:
        return self._columns[column].numpy(self._row)


def is_quick(array: Any) -> bool:
    """True where ListColumn can hold the lists: numbers or coded strings, none of them null."""
    kind = array.type
    if not is_list(kind):
        return False
    coded = kind.value_type == CODED
    if not (coded or pa.types.is_integer(kind.value_type) or pa.types.is_floating(kind.value_type)):
        return False
    return array.values.null_count == 0 and not (coded and array.values.dictionary.null_count)


def _parts(array: Any) -> tuple[npt.NDArray[Any], npt.NDArray[np.integer[Any]]]:
    """Numbers or codes, and where each row's begin and end: [rows + 1]."""
    values = array.values.indices if pa.types.is_dictionary(array.type.value_type) else array.values
    if pa.types.is_fixed_size_list(array.type):
        size = array.type.list_size
        offsets = np.arange(0, (len(array) + 1) * size, size)
    else:
        offsets = array.offsets.to_numpy()
    return values.to_numpy(), offsets
