"""Rules that a version must keep before it's served, over record batches. Knows no backend.

Legend: N rows, V values of a column, those of lists one after the other.
"""

from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from typing import Any

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc

from feature_store.errors import InvalidInput
from feature_store.schema import is_list

#: Values of each version that drift is told by, evenly spaced: more change the third digit of it at most.
_SAMPLE = 1_000_000

Numbers = npt.NDArray[Any]


@dataclass(frozen=True, kw_only=True)
class Checks:
    """The rules of a commit; one that's left out isn't asked for.

    min_ratio: least number of keys, as a share of those of the served version.
    lengths: least and greatest length of each row's list, by list column; a null list counts as empty.
    equal_lengths: whether all lists of a row must be equally long, such as items and their scores.
    ranges: least and greatest number, by column of numbers or of lists of them. NaN, infinite numbers and nulls
        within a list are outside of any range; a row whose value is null has nothing to check.
    max_repeated: greatest share of values of a row's list that repeat another one of it, by list column.
    max_drift: greatest population stability index against the served version, by column of numbers or of lists of
        them. Rules of thumb call 0.1 a slight drift and 0.25 a grave one (see `psi`).
    max_age: greatest age of the version's `as_of` at `now`, which goes with it. A version without an `as_of` breaks it.

    Where nothing is served, or its files are damaged, there's nothing to compare with: the first version passes.
    """

    min_ratio: float | None = None
    lengths: Mapping[str, tuple[int, int]] = field(default_factory=dict)
    equal_lengths: bool = False
    ranges: Mapping[str, tuple[float, float]] = field(default_factory=dict)
    max_repeated: Mapping[str, float] = field(default_factory=dict)
    max_drift: Mapping[str, float] = field(default_factory=dict)
    max_age: timedelta | None = None
    now: datetime | None = None

    def __post_init__(self) -> None:
        if (self.max_age is None) != (self.now is None):
            raise InvalidInput("max_age is measured at now; give both or neither")
        if self.now is not None and self.now.tzinfo is None:
            raise InvalidInput(f"now is {self.now}, a time without a zone; give it in UTC")


@dataclass(frozen=True, kw_only=True)
class Served:
    """The version being served; `batches` gives its record batches, none where it's damaged."""

    version: str
    rows: int
    batches: Callable[[], Iterable[Any]]


def broken_rule(checks: Checks, *, batches: Iterable[Any], as_of: datetime | None, served: Served | None) -> str | None:
    """The first rule that a version breaks, with the value, the bound and a key of the rows concerned; or None.

    `batches` are all of the version, the key first, and are gone through several times. Raises InvalidInput for a rule
    about a column that isn't there or is of another kind.
    """
    found = _age(checks, as_of) or _ratio(checks, batches, served)
    if found is None:
        found = next((broken for batch in batches if (broken := _row_rules(checks, batch)) is not None), None)
    if found is None and served is not None:
        drifts = (_drift(column, bound, batches, served) for column, bound in checks.max_drift.items())
        found = next((broken for broken in drifts if broken is not None), None)
    return found


def psi(old_V: Numbers, new_V: Numbers) -> float:
    """The population stability index of new values against old ones: sum over bins of (n - o) * ln(n / o).

    n and o are the shares of new and old values in bins between the deciles of the old ones; half a value is added to
    each count, so that an empty bin has a logarithm. It's the Jeffreys divergence of both histograms; for credit scores
    see N. Siddiqi, "Credit Risk Scorecards" (2006), where 0.1 and 0.25 come from. All values are finite.
    """
    return _bins(old_V, new_V)[0]


def _age(checks: Checks, as_of: datetime | None) -> str | None:
    if checks.max_age is None or checks.now is None:
        return None
    if as_of is None:
        return f"max_age: its metadata have no as_of, and it may be at most {checks.max_age} old"
    age = checks.now - as_of
    if age <= checks.max_age:
        return None
    return f"max_age: its data are as of {as_of:%Y-%m-%dT%H:%M:%SZ}, {age} ago, and may be at most {checks.max_age} old"


def _ratio(checks: Checks, batches: Iterable[Any], served: Served | None) -> str | None:
    if checks.min_ratio is None or served is None:
        return None
    rows = sum(batch.num_rows for batch in batches)
    if rows >= checks.min_ratio * served.rows:
        return None
    known = pa.chunked_array([batch.column(0) for batch in batches])
    # Keys of another type than the served ones are all new.
    former = (batch.column(0) for batch in served.batches() if batch.column(0).type == known.type)
    missing = (keys.filter(pc.invert(pc.is_in(keys, value_set=known))) for keys in former)
    example = next((f"; such as key {keys[0].as_py()!r}, which is missing" for keys in missing if len(keys)), "")
    return (
        f"min_ratio: {rows} keys are {rows / served.rows:.3g} of the {served.rows} in the served '{served.version}', "
        f"and must be {checks.min_ratio:g} at least{example}"
    )


def _row_rules(checks: Checks, batch: Any) -> str | None:
    rules: list[Iterator[str | None]] = [
        (_length(batch, column, *bounds) for column, bounds in checks.lengths.items()),
        iter([_unequal(batch)] if checks.equal_lengths else []),
        (_range(batch, column, *bounds) for column, bounds in checks.ranges.items()),
        (_repeated(batch, column, bound) for column, bound in checks.max_repeated.items()),
    ]
    return next((broken for rule in rules for broken in rule if broken is not None), None)


def _length(batch: Any, column: str, low: int, high: int) -> str | None:
    lengths_N = _lengths(_lists(batch, column))
    wrong = np.flatnonzero((lengths_N < low) | (lengths_N > high))
    if not len(wrong):
        return None
    key = _key(batch, wrong[0])
    return f"lengths: '{column}' of key {key} has {lengths_N[wrong[0]]} values, and must have {low} to {high}"


def _unequal(batch: Any) -> str | None:
    lengths = {field.name: _lengths(batch[field.name]) for field in batch.schema if is_list(field.type)}
    for column, lengths_N in lengths.items():
        first, first_N = next(iter(lengths.items()))
        wrong = np.flatnonzero(lengths_N != first_N)
        if len(wrong):
            row = wrong[0]
            return (
                f"equal_lengths: '{column}' of key {_key(batch, row)} has {lengths_N[row]} values and '{first}' "
                f"{first_N[row]}, and they must be equally many"
            )
    return None


def _range(batch: Any, column: str, low: float, high: float) -> str | None:
    numbers_V = _numbers(batch, column)
    # NaN is the least and the greatest number of all, where there is one, and no comparison with it holds.
    if not len(numbers_V) or (low <= numbers_V.min() and numbers_V.max() <= high and np.isfinite(numbers_V).all()):
        return None
    place = np.flatnonzero(~(np.isfinite(numbers_V) & (numbers_V >= low) & (numbers_V <= high)))[0]
    key = _key(batch, _row(batch[column], place))
    return f"ranges: '{column}' of key {key} has {numbers_V[place]:g}, and must be finite, from {low:g} to {high:g}"


def _repeated(batch: Any, column: str, bound: float) -> str | None:
    lists = _lists(batch, column)
    lengths_N, codes_V = _lengths(lists), _codes(lists.flatten())
    starts_N = np.cumsum(lengths_N) - lengths_N
    # Rows of one length are sorted as one matrix, which is many times faster than sorting pairs of row and code.
    for length in np.unique(lengths_N[lengths_N > 1]).tolist():
        rows = np.flatnonzero(lengths_N == length)
        sorted_NL = np.sort(codes_V[starts_N[rows, None] + np.arange(length)], axis=1)
        share_N = (sorted_NL[:, 1:] == sorted_NL[:, :-1]).sum(axis=1) / length
        wrong = np.flatnonzero(share_N > bound)
        if len(wrong):
            key = _key(batch, rows[wrong[0]])
            return f"max_repeated: {share_N[wrong[0]]:.3g} of '{column}' of key {key} repeat others, above {bound:g}"
    return None


def _drift(column: str, bound: float, batches: Iterable[Any], served: Served) -> str | None:
    # Gone through anew each time, so that not all of a version need be in memory.
    old_V = _sample(lambda: (batch for batch in served.batches() if column in batch.schema.names), column)
    new_V = _sample(lambda: batches, column)
    if not len(old_V) or not len(new_V):
        return None
    drift, edges, grown = _bins(old_V, new_V)
    if drift <= bound:
        return None
    for batch in batches:
        numbers_V = _numbers(batch, column)
        places = np.flatnonzero(np.isfinite(numbers_V) & (np.searchsorted(edges, numbers_V) == grown))
        if len(places):
            break
    return (
        f"max_drift: '{column}' has a PSI of {drift:.3g} against the served '{served.version}', above {bound:g}; such "
        f"as key {_key(batch, _row(batch[column], places[0]))} with {numbers_V[places[0]]:g}"
    )


def _bins(old_V: Numbers, new_V: Numbers) -> tuple[float, Numbers, int]:
    """The index of finite values, the edges between the bins, and the bin whose share grew most."""
    edges = np.unique(np.quantile(old_V, np.arange(1, 10) / 10, method="lower"))
    bins = len(edges) + 1
    old, new = (np.bincount(np.searchsorted(edges, values_V), minlength=bins) for values_V in (old_V, new_V))
    o, n = ((counts + 0.5) / (counts.sum() + 0.5 * bins) for counts in (old, new))
    grown = int(np.argmax(new / new.sum() - old / old.sum()))
    return float(((n - o) * np.log(n / o)).sum()), edges, grown


def _sample(batches: Callable[[], Iterable[Any]], column: str) -> Numbers:
    total = sum(len(_numbers(batch, column)) for batch in batches())
    step = -(-total // _SAMPLE) or 1
    kept = [_numbers(batch, column)[::step].copy() for batch in batches()]
    values: Numbers = np.concatenate(kept) if kept else np.empty(0)
    finite: Numbers = values[np.isfinite(values)]
    return finite


def _numbers(batch: Any, column: str) -> Numbers:
    array = _column(batch, column)
    values = array.flatten() if is_list(array.type) else array.drop_null()
    if not (pa.types.is_integer(values.type) or pa.types.is_floating(values.type)):
        raise InvalidInput(f"a check wants numbers in '{column}', which is {array.type}; check another column")
    numbers: Numbers = values.to_numpy(zero_copy_only=False)  # nulls become NaN
    return numbers


def _lists(batch: Any, column: str) -> Any:
    array = _column(batch, column)
    if not is_list(array.type):
        raise InvalidInput(f"a check wants lists in '{column}', which is {array.type}; check another column")
    return array


def _column(batch: Any, column: str) -> Any:
    if column not in batch.schema.names:
        raise InvalidInput(f"a check names '{column}', and the columns are {', '.join(batch.schema.names)}")
    return batch[column]


def _lengths(array: Any) -> npt.NDArray[np.int64]:
    """How many values each of N rows has: of its list, or whether there's one."""
    lengths = pc.list_value_length(array) if is_list(array.type) else array.is_valid().cast(pa.int64())
    counted: npt.NDArray[np.int64] = lengths.fill_null(0).to_numpy().astype(np.int64)
    return counted


def _codes(values: Any) -> npt.NDArray[np.int64]:
    """One number for each different value; a dictionary that another library wrote may hold a value twice."""
    if pa.types.is_dictionary(values.type):
        indices = values.dictionary.dictionary_encode().indices.take(values.indices)
    else:
        indices = values.dictionary_encode().indices
    codes: npt.NDArray[np.int64] = indices.fill_null(-1).to_numpy().astype(np.int64)
    return codes


def _row(array: Any, place: int) -> int:
    """The row of the value at a place among all values of a column."""
    return int(np.searchsorted(np.cumsum(_lengths(array)), place, side="right"))


def _key(batch: Any, row: int) -> str:
    return repr(batch.column(0)[int(row)].as_py())
