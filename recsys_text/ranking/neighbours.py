"""What other clicks of a user say for a candidate, by sparse item-item weights. Knows neither texts nor how to fit.

Shapes: J items that have weights, N impressions, R of them at a time, P pairs of an impression and a candidate.
"""

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Self

import numpy as np
import polars as pl
from numpy.typing import NDArray
from safetensors.numpy import load_file, save_file
from scipy.sparse import csr_matrix, hstack

from recsys_text.ranking.log import Impressions, Int64, Log
from recsys_text.ranking.timeline import expand

Float32 = NDArray[np.float32]

#: The weights that a column goes by, and what a click weighs beside the next one: the whole history alike, the newest
#: ten or so, the newest few.
_COLUMNS: dict[str, tuple[str, float]] = {
    "together": ("ease", 1.0),
    "together_late": ("ease", 0.95),
    "together_latest": ("ease", 0.8),
    "bm25": ("bm25", 1.0),
    "bm25_latest": ("bm25", 0.8),
}
#: The columns of `together`.
TOGETHER: tuple[str, ...] = tuple(_COLUMNS)
#: The kinds of weights, by their columns.
KINDS = tuple(dict.fromkeys(kind for kind, _ in _COLUMNS.values()))
# Numbers in the dense scores that are held at a time: 64 MB.
_CHUNK = 1 << 24
_AT_A_TIME = 512


@dataclass(frozen=True, kw_only=True, eq=False)
class Neighbours:
    """Sparse item-item weights of each of KINDS, csr_matrix[J, J].

    weights[kind][i, j] is what a click on item_ids[i] says for item_ids[j]; 0 but for the top neighbours of each j.
    """

    item_ids: list[str]
    weights: dict[str, csr_matrix]

    def save(self, folder: Path) -> None:
        """Writes `neighbours.safetensors` and `neighbours.json` into a folder that exists."""
        arrays = {}
        for kind, weights in self.weights.items():
            arrays[f"{kind}.data"] = weights.data.astype(np.float32)
            arrays[f"{kind}.indices"] = weights.indices.astype(np.int32)
            arrays[f"{kind}.indptr"] = weights.indptr.astype(np.int64)
        save_file(arrays, folder / "neighbours.safetensors")
        (folder / "neighbours.json").write_text(json.dumps(self.item_ids, ensure_ascii=False))

    @classmethod
    def load(cls, folder: Path) -> Self:
        """Reads what `save` wrote."""
        item_ids = json.loads((folder / "neighbours.json").read_text())
        arrays, shape = load_file(folder / "neighbours.safetensors"), (len(item_ids), len(item_ids))
        return cls(
            item_ids=item_ids,
            weights={
                kind: csr_matrix(tuple(arrays[f"{kind}.{part}"] for part in ("data", "indices", "indptr")), shape=shape)
                for kind in KINDS
            },
        )


def nearest(weights_JJ: Float32, count: int) -> csr_matrix:
    """Keeps, for each candidate (column), the `count` clicks (rows) whose weights are farthest from 0.

    Cut so, a candidate is judged by what belongs to it most, however many neighbours a popular click has. Weights as
    far from 0 as the last one are all kept: no order of the items decides.
    """
    size = len(weights_JJ)
    parts = [csr_matrix((size, 0), dtype=np.float32)]
    # Some columns at a time: the copies that sorting takes would need twice the memory of the weights.
    for start in range(0, size, _AT_A_TIME):
        part_JC = weights_JJ[:, start : start + _AT_A_TIME]
        far_JC = np.abs(part_JC)
        least_C = np.partition(far_JC, max(0, size - count), axis=0)[max(0, size - count)]
        parts.append(csr_matrix(np.where(far_JC >= least_C, part_JC, 0)))
    return hstack(parts, format="csr")


def together(log: Log, impressions: Impressions, neighbours: Neighbours) -> dict[str, Float32]:
    """For each column of TOGETHER the sum of the weights from the user's clicks strictly before to each candidate.

    float32[P] each; its weights and its decay: see _COLUMNS. An item counts once, by its newest click, decay ** k where
    k clicks of the user came later. 0 for an item without weights and a user without clicks.
    """
    size = len(neighbours.item_ids)
    columns = {name: np.zeros(len(impressions.item), np.float32) for name in TOGETHER}
    codes = log.item_codes(pl.Series(neighbours.item_ids, dtype=pl.String))
    place_I = np.full(len(log.item_ids), -1, np.int64)
    place_I[codes[codes >= 0]] = np.flatnonzero(codes >= 0)
    row_Q, place_Q, back_Q = _clicks(log, impressions, place_I)
    starts_N1 = np.searchsorted(row_Q, np.arange(len(impressions) + 1))
    step = max(1, _CHUNK // max(1, size))
    for first in range(0, len(impressions), step):
        last = min(first + step, len(impressions))
        some = slice(starts_N1[first], starts_N1[last])
        pairs = slice(impressions.offsets[first], impressions.offsets[last])
        row_P, place_P = impressions.row[pairs] - first, place_I[impressions.item[pairs]]
        if some.start == some.stop:
            continue
        for name, (kind, decay) in _COLUMNS.items():
            weight_Q = np.power(decay, back_Q[some]).astype(np.float32)
            history_RJ = csr_matrix((weight_Q, (row_Q[some] - first, place_Q[some])), shape=(last - first, size))
            said_RJ = (history_RJ @ neighbours.weights[kind]).toarray()
            columns[name][pairs] = np.where(place_P >= 0, said_RJ[row_P, place_P], 0)
    return columns


def _clicks(log: Log, impressions: Impressions, place_I: Int64) -> tuple[Int64, Int64, NDArray[np.integer[Any]]]:
    """The items with weights that each impression's user clicked before it: impression, place, and clicks since."""
    own = log.clicks_of_user
    begin_N = own.begin(impressions.user)
    length_N = own.stop(impressions.user, own.rank(impressions.time)) - begin_N
    row = np.repeat(np.arange(len(impressions)), length_N)
    at = expand(begin_N, length_N)
    back = (begin_N + length_N)[row] - 1 - at
    place = place_I[own.value[at]]
    row, place, back = row[::-1], place[::-1], back[::-1]
    known = np.flatnonzero(place >= 0)
    _, newest = np.unique(row[known] * max(1, len(place_I)) + place[known], return_index=True)
    kept = known[newest]
    return row[kept], place[kept], back[kept]
