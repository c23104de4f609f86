"""The columns of a version over all of its record batches: rows of several batches as one. Knows no keys and no files.

Legend: N rows asked for, B record batches. `batch_N` says in which batch a row is, -1 where there is none, and
`row_N` where in it.
"""

from collections.abc import Sequence
from typing import Any

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from feature_store.local.columns import Column, ListColumn, PlainColumn, is_quick
from feature_store.schema import CODED

#: A batch, and from where to where the values of a row go in it.
Span = tuple[int, int, int]


class Quick:
    """A column of lists that can all be read quickly; `strings` is what its codes stand for, None for numbers.

    moved_B: how far the codes of each batch are moved in `strings`.
    """

    def __init__(self, arrays_B: Sequence[Any]) -> None:
        self.kind = arrays_B[0].type
        self.strings: Any = None
        texts_B: Sequence[list[str] | None] = [None] * len(arrays_B)
        if self.kind.value_type == CODED:
            self.strings, self.moved_B, texts_B = _united([array.values.dictionary for array in arrays_B])
        self.columns_B = [ListColumn(array, texts) for array, texts in zip(arrays_B, texts_B, strict=True)]

    def spans(self, batch_N: Sequence[int], row_N: Sequence[int]) -> list[Span]:
        """Where the values of each row are; of a row that isn't there none."""
        bounds_B = [column.bounds for column in self.columns_B]
        return [
            (0, 0, 0) if batch < 0 else (batch, bounds_B[batch][row], bounds_B[batch][row + 1])
            for batch, row in zip(batch_N, row_N, strict=True)
        ]

    def alike(self, other: "Quick") -> bool:
        """True where the values of each row are at the same places in both."""
        pairs = zip(self.columns_B, other.columns_B, strict=True)
        return all(np.array_equal(mine.offsets, others.offsets) for mine, others in pairs)

    def gather(self, spans_N: Sequence[Span], missing_N: npt.NDArray[np.bool_], row_N: Sequence[int]) -> Any:
        """An Arrow array of N lists."""
        values_B = [column.values for column in self.columns_B]
        pieces = [values_B[batch][start:stop] for batch, start, stop in spans_N]
        fixed = pa.types.is_fixed_size_list(self.kind)
        if fixed:  # null takes place too
            nothing = np.zeros(self.kind.list_size, values_B[0].dtype)
            pieces = [piece if len(piece) else nothing for piece in pieces]
        values = np.concatenate([values_B[0][:0], *pieces])
        sizes_N = np.fromiter(map(len, pieces), np.int32, len(pieces))
        if any(column.valid is not None for column in self.columns_B):
            missing_N = missing_N.copy()
            for place in np.flatnonzero(~missing_N).tolist():
                valid = self.columns_B[spans_N[place][0]].valid
                missing_N[place] = valid is not None and not valid[row_N[place]]
        mask = pa.array(missing_N) if missing_N.any() else None
        if self.strings is None:
            array = pa.array(values)
        else:
            if any(self.moved_B):
                values = values + np.repeat([self.moved_B[batch] for batch, _, _ in spans_N], sizes_N).astype(np.int32)
            array = pa.DictionaryArray.from_arrays(pa.array(values), self.strings, safe=False)
        if fixed:
            return pa.FixedSizeListArray.from_arrays(array, type=self.kind, mask=mask)
        offsets = np.zeros(len(pieces) + 1, np.int32)
        np.cumsum(sizes_N, out=offsets[1:])
        return pa.ListArray.from_arrays(pa.array(offsets), array, type=self.kind, mask=mask)


class Columns:
    """All columns but the key."""

    def __init__(self, batches: Sequence[Any]) -> None:
        schema, rest = batches[0].schema, range(1, batches[0].num_columns)
        self._arrays = [[batch.column(place) for batch in batches] for place in rest]
        self._quick = [Quick(arrays) if all(map(is_quick, arrays)) else None for arrays in self._arrays]
        #: Lists that stand beside each other are found once.
        self._like = [
            next((before for before in range(place) if _alike(self._quick[before], quick)), place)
            for place, quick in enumerate(self._quick)
        ]
        #: The columns of each batch by name, the key first.
        self.of_batch: list[dict[str, Column]] = []
        for number, batch in enumerate(batches):
            columns: list[Column] = [PlainColumn(batch.column(0))]
            for arrays, quick in zip(self._arrays, self._quick, strict=True):
                columns.append(PlainColumn(arrays[number]) if quick is None else quick.columns_B[number])
            self.of_batch.append(dict(zip(schema.names, columns, strict=True)))

    def gather(self, batch_N: Sequence[int], row_N: Sequence[int]) -> list[Any]:
        """Each column as an Arrow array of N values, null for a row that isn't there."""
        missing_N = np.fromiter((batch < 0 for batch in batch_N), np.bool_, len(batch_N))
        spans_of: dict[int, list[Span]] = {}
        gathered = []
        for arrays, quick, like in zip(self._arrays, self._quick, self._like, strict=True):
            if quick is None:
                gathered.append(_gather_plain(arrays, np.array(batch_N), np.array(row_N)))
                continue
            if like not in spans_of:
                spans_of[like] = quick.spans(batch_N, row_N)
            gathered.append(quick.gather(spans_of[like], missing_N, row_N))
        return gathered


def _alike(one: Quick | None, other: Quick | None) -> bool:
    return one is not None and other is not None and one.alike(other)


def _gather_plain(arrays_B: Sequence[Any], batch_N: npt.NDArray[np.int64], row_N: npt.NDArray[np.int64]) -> Any:
    taken, count = [], 0
    place_N = np.zeros(len(batch_N), np.int64)
    for batch in np.unique(batch_N[batch_N >= 0]).tolist():
        here_N = batch_N == batch
        taken.append(arrays_B[batch].take(pa.array(row_N[here_N])))
        place_N[here_N] = np.arange(count, count + len(taken[-1]))
        count += len(taken[-1])
    if not taken:
        return pa.nulls(len(batch_N), arrays_B[0].type)
    whole = pa.chunked_array(taken).unify_dictionaries().combine_chunks() if len(taken) > 1 else taken[0]
    return whole.take(pa.array(place_N, mask=batch_N < 0))


def _united(dictionaries_B: Sequence[Any]) -> tuple[Any, list[int], list[list[str]]]:
    """All dictionaries as one, where each begins in it, and each as Python strings; equal ones are there once."""
    distinct: list[Any] = []
    texts: list[list[str]] = []
    which_B = []
    for dictionary in dictionaries_B:
        same = next((place for place, other in enumerate(distinct) if other.equals(dictionary)), None)
        if same is None:
            same = len(distinct)
            distinct.append(dictionary)
            texts.append(dictionary.to_numpy(zero_copy_only=False).tolist())  # far quicker than Arrow's own way
        which_B.append(same)
    starts = np.cumsum([0, *map(len, distinct)]).tolist()
    return pa.concat_arrays(distinct), [starts[which] for which in which_B], [texts[which] for which in which_B]
