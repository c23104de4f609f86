"""The keys of a version over all of its record batches. Knows no files.

Legend: N keys asked for, of which F were found; `batch_F` says in which of B record batches a row is, and `row_F`
where in it.
"""

from collections.abc import Sequence
from typing import Any

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from feature_store.base import Key
from feature_store.local.flat import Flat, Places


class Keys:
    """What stands in the first column."""

    def __init__(self, arrays_B: Sequence[Any]) -> None:
        self._arrays_B = arrays_B
        self._texts = pa.types.is_string(arrays_B[0].type)
        if self._texts:
            parts_B = [_parts(array) for array in arrays_B]
            self._bounds = Flat([bounds for bounds, _ in parts_B])
            self._values = Flat([values for _, values in parts_B])
        else:
            self._values = Flat([array.to_numpy() for array in arrays_B])

    def key(self, batch: int, row: int) -> Key:
        found: Key = self._arrays_B[batch][row].as_py()
        return found

    def are(self, known_N: Any, batch_F: Places, row_F: Places) -> bool:
        """True where F rows have those keys, of an Arrow array of N, that aren't null."""
        keys_F = known_N.drop_null() if known_N.null_count else known_N
        if not self._texts:
            same_F = self._values.take(self._values.starts_B[batch_F] + row_F) == keys_F.to_numpy()
            return bool(same_F.all())
        place_F = self._bounds.starts_B[batch_F] + row_F
        start_F = self._bounds.take(place_F)
        size_F = self._bounds.take(place_F + 1) - start_F
        bounds, values = _parts(keys_F)
        if np.count_nonzero(size_F != bounds[1:] - bounds[:-1]):
            return False
        found = self._values.runs(self._values.starts_B[batch_F] + start_F, size_F)
        return found.tobytes() == values[bounds[0] : bounds[-1]].tobytes()


def _parts(texts: Any) -> tuple[npt.NDArray[np.int32], npt.NDArray[np.uint8]]:
    """Where each of N strings begins and ends, [N + 1], and the bytes of all."""
    _, bounds, values = texts.buffers()
    starts = np.frombuffer(bounds, np.int32, len(texts) + 1, texts.offset * 4) if len(texts) else np.zeros(1, np.int32)
    return starts, np.frombuffer(values or b"", np.uint8)
