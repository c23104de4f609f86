"""What reading foreign rows, and one column of them as a contract's type, gives. Knows no types and no files."""

from dataclasses import dataclass
from datetime import tzinfo
from typing import Literal, Self

import polars as pl

from recsys_text.errors import ContractError

#: The columns in which a reader tells of a row that it could not read: the rule and the row. No source has such names.
ROW_RULE, ROW_OFFENDER = "\ufdd0rule", "\ufdd0offender"


@dataclass(frozen=True, kw_only=True)
class Target:
    """The contract's column to read: its table, name and type, and what the source says of its values."""

    table: str
    name: str
    dtype: pl.DataType
    nullable: bool = True
    zone: tzinfo | None = None
    time_unit: Literal["s", "ms", "us"] | None = None

    @property
    def column(self) -> str:
        return f"{self.table}.{self.name}"


@dataclass(frozen=True)
class Read:
    """The values in the contract's type, null where there is none, and which of them are null as they are `broken`."""

    values: pl.Series
    broken: pl.Series

    @classmethod
    def whole(cls, values: pl.Series) -> Self:
        """Values of which none is broken."""
        return cls(values, pl.repeat(False, len(values), eager=True))


def wrong_type(given: pl.Series, target: Target, wanted: str) -> ContractError:
    """The fault of a column whose type cannot hold what is wanted, however its values are."""
    return ContractError(f"{target.column}: column '{given.name}' of the source holds {given.dtype}, not {wanted}")
