"""The columns of a version over all of its record batches: rows of several batches as one. Knows no keys and no files.

Legend: N rows asked for, of which F were found, as `there_N` says; `batch_F` says in which of B record batches a row
is, and `row_F` where in it.
"""

from collections.abc import Sequence
from typing import Any

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from feature_store.local.columns import Column, ListColumn, PlainColumn, is_quick
from feature_store.local.flat import Flat, Mask, Places
from feature_store.schema import CODED


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
        self._moved = self.strings is not None and bool(self.moved_B.any())
        self._fixed = pa.types.is_fixed_size_list(self.kind)
        self.columns_B = [ListColumn(array, texts) for array, texts in zip(arrays_B, texts_B, strict=True)]
        nulls = any(array.null_count for array in arrays_B)
        self._valid = Flat([array.is_valid().to_numpy(zero_copy_only=False) for array in arrays_B]) if nulls else None

    def aligned(self, other: "Quick") -> bool:
        """True where the values of each row are at the same places in both, and as wide."""
        pairs = list(zip(self.columns_B, other.columns_B, strict=True))
        wide = all(mine.values.itemsize == others.values.itemsize for mine, others in pairs)
        return wide and all(np.array_equal(mine.offsets, others.offsets) for mine, others in pairs)

    def array(self, values: Any, bounds: Any, size_F: Places, batch_F: Places, row_F: Places, there_N: Mask) -> Any:
        """The values of F rows as an Arrow array of N lists; bounds are where each of N begins and ends."""
        count, validity = len(there_N), None
        if self._moved:
            values = values + np.repeat(self.moved_B[batch_F], size_F).view(values.dtype)
        if self._valid is not None or len(batch_F) < count:
            valid_N = there_N.copy()
            if self._valid is not None:
                valid_N[there_N] = self._valid.take(self._valid.starts_B[batch_F] + row_F)
            validity = pa.array(valid_N).buffers()[1]
            if self._fixed:  # null takes place too
                whole = np.zeros((count, self.kind.list_size), values.dtype)
                whole[there_N] = values.reshape(len(batch_F), self.kind.list_size)
                values = whole.ravel()
        # Quicker than by way of arrays of values and of bounds.
        parts = [None, pa.py_buffer(values)]
        if self.strings is None:
            inner = pa.Array.from_buffers(self.kind.value_type, len(values), parts)
        else:
            inner = pa.DictionaryArray.from_buffers(CODED, len(values), parts, self.strings)
        around = [validity] if self._fixed else [validity, bounds]
        return pa.Array.from_buffers(self.kind, count, around, children=[inner])


class Aligned:
    """C columns of lists, the values of each row at the same places in all of them: they are gathered at once."""

    def __init__(self, quick_C: Sequence[Quick]) -> None:
        self._quick_C = quick_C
        self._bounds = Flat([column.offsets for column in quick_C[0].columns_B])
        values = [column.values for quick in quick_C for column in quick.columns_B]
        self._values = Flat([array.view(f"u{array.itemsize}") for array in values])
        self._starts_CB = self._values.starts_B.reshape(len(quick_C), -1)

    def gather(self, batch_F: Places, row_F: Places, there_N: Mask) -> list[Any]:
        """Each column as an Arrow array of N lists, null where none of the F rows is."""
        place_F = self._bounds.starts_B[batch_F] + row_F
        start_F = self._bounds.take(place_F)
        size_F = self._bounds.take(place_F + 1) - start_F
        values_C = self._values.runs(self._starts_CB.take(batch_F, axis=1) + start_F, size_F)
        bounds = pa.py_buffer(_bounds(size_F, there_N))
        pairs = zip(self._quick_C, values_C, strict=True)
        return [quick.array(values, bounds, size_F, batch_F, row_F, there_N) for quick, values in pairs]


def _bounds(size_F: Places, there_N: Mask) -> npt.NDArray[np.int32]:
    """Where each of N lists begins and ends once they stand side by side: [N + 1]."""
    size_N = size_F
    if len(size_F) < len(there_N):
        size_N = np.zeros(len(there_N), np.int64)
        size_N[there_N] = size_F
    bounds = np.zeros(len(there_N) + 1, np.int32)
    size_N.cumsum(dtype=np.int32, out=bounds[1:])
    return bounds


class Columns:
    """All columns but the key."""

    def __init__(self, batches: Sequence[Any]) -> None:
        schema, rest = batches[0].schema, range(1, batches[0].num_columns)
        self._arrays = [[batch.column(place) for batch in batches] for place in rest]
        quick = {place: Quick(arrays) for place, arrays in enumerate(self._arrays) if all(map(is_quick, arrays))}
        #: The columns of each batch by name, the key first.
        self.of_batch: list[dict[str, Column]] = []
        for number, batch in enumerate(batches):
            columns: list[Column] = [PlainColumn(batch.column(0))]
            for place, arrays in enumerate(self._arrays):
                columns.append(quick[place].columns_B[number] if place in quick else PlainColumn(arrays[number]))
            self.of_batch.append(dict(zip(schema.names, columns, strict=True)))
        groups: list[dict[int, Quick]] = []
        for place, column in quick.items():
            group = next((some for some in groups if column.aligned(next(iter(some.values())))), None)
            if group is None:
                groups.append({place: column})
            else:
                group[place] = column
        self._groups = [(list(group), Aligned(list(group.values()))) for group in groups]

    def gather(self, batch_F: Places, row_F: Places, there_N: Mask) -> list[Any]:
        """Each column as an Arrow array of N values, null where none of the F rows is."""
        found: dict[int, Any] = {}
        for places, group in self._groups:
            found.update(zip(places, group.gather(batch_F, row_F, there_N), strict=True))
        return [
            found[place] if place in found else _gather_plain(arrays, batch_F, row_F, there_N)
            for place, arrays in enumerate(self._arrays)
        ]


def _gather_plain(arrays_B: Sequence[Any], batch_F: Places, row_F: Places, there_N: Mask) -> Any:
    taken, count = [arrays_B[0][:0]], 0
    place_F = np.zeros(len(batch_F), np.int64)
    for batch in np.unique(batch_F).tolist():
        here_F = batch_F == batch
        taken.append(arrays_B[batch].take(pa.array(row_F[here_F])))
        place_F[here_F] = np.arange(count, count + len(taken[-1]))
        count += len(taken[-1])
    place_N = np.zeros(len(there_N), np.int64)
    place_N[there_N] = place_F
    return pa.chunked_array(taken).unify_dictionaries().combine_chunks().take(pa.array(place_N, mask=~there_N))


def _united(dictionaries_B: Sequence[Any]) -> tuple[Any, npt.NDArray[np.int32], list[list[str]]]:
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
    starts = np.cumsum([0, *map(len, distinct)], dtype=np.int32)
    return pa.concat_arrays(distinct), starts[which_B], [texts[which] for which in which_B]
