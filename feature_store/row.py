"""One row as a mapping whose values are made when they are asked for. Knows no backend."""

from abc import abstractmethod
from collections.abc import Iterator, Mapping
from typing import Any


class Row(Mapping[str, Any]):
    """A row by column name, equal to the dict of its Python values; each is made anew when it's asked for.

    Finding a row takes a few microseconds, and turning hundreds of values into Python objects takes longer: who
    needs one column, or the first ten of a list, pays for no more.
    """

    __slots__ = ()

    @property
    @abstractmethod
    def names(self) -> tuple[str, ...]:
        """The columns, the key first."""

    @abstractmethod
    def first(self, column: str, count: int) -> list[Any] | None:
        """The first `count` values of a list column as Python values; None where the list is null.

        Raises KeyError for an unknown column and InvalidInput for one that holds no lists.
        """

    @abstractmethod
    def numpy(self, column: str) -> Any:
        """The values of a list of numbers as a read-only numpy array, not copied; None where the list is null.

        Raises KeyError for an unknown column and InvalidInput for one that holds no lists of numbers.
        """

    def __iter__(self) -> Iterator[str]:
        return iter(self.names)

    def __len__(self) -> int:
        return len(self.names)

    def __repr__(self) -> str:
        return f"Row({dict(self)!r})"
