"""Tokenizer, text model, blend, calibrator and their settings as one unit. Knows its own folder and nothing else.

The one place where interest and score are computed: training rows, evaluation, `rank`, nightly scoring and
the MLflow model all come through here.
"""

import json
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any, Self

import numpy as np
from numpy.typing import NDArray

from recsys_text import __version__
from recsys_text.config import Candidates, Model
from recsys_text.errors import ConfigError
from recsys_text.model.scorer import Interest, item_vectors, user_vectors
from recsys_text.ranking.blend import Blend
from recsys_text.ranking.calibrate import Calibrator
from recsys_text.ranking.candidates import histories
from recsys_text.ranking.features import assemble, counts
from recsys_text.ranking.log import Impressions, Log
from recsys_text.text.tokenizer import Tokenizer

if TYPE_CHECKING:
    import pandas as pd

Floats = NDArray[np.float32]
#: Pairs scored at a time: bounds the memory of the features to some tens of megabytes.
CHUNK = 500_000


@dataclass(frozen=True, kw_only=True)
class Bundle:
    """One trained unit. `cutoff`: it has seen only what is strictly before."""

    tokenizer: Tokenizer
    interest: Interest
    blend: Blend
    calibrator: Calibrator
    model: Model
    candidates: Candidates
    cutoff: datetime

    def item_vectors(self, texts: Sequence[str]) -> Floats:
        """float32[I, dim] of the items' texts."""
        return item_vectors(self.interest, *self.tokenizer.encode(texts, self.model.max_tokens))

    def score(self, log: Log, items_ID: Floats, impressions: Impressions) -> tuple[Floats, Floats]:
        """Interest and calibrated click probability of each pair, float32[P] each, as of its impression's time."""
        parts = [self._score(log, items_ID, part) for part in impressions.chunks(CHUNK)]
        empty = np.zeros(0, np.float32)
        return (
            np.concatenate([empty, *(interest for interest, _ in parts)]),
            np.concatenate([empty, *(score for _, score in parts)]),
        )

    def _score(self, log: Log, items_ID: Floats, impressions: Impressions) -> tuple[Floats, Floats]:
        interest_P = interest_of(self.interest, log, items_ID, impressions, self.model.history)
        features_PF = assemble(counts(log, impressions), interest_P, impressions.offsets)
        return interest_P, self.calibrator.predict(self.blend.predict(features_PF)).astype(np.float32)

    def save(self, folder: Path) -> None:
        """Writes safetensors, LightGBM's text and JSON into an empty folder."""
        folder.mkdir(parents=True, exist_ok=True)
        save_model(self.interest, folder)
        (folder / "tokenizer.json").write_text(self.tokenizer.to_json())
        (folder / "blend.txt").write_text(self.blend.to_text())
        (folder / "calibrator.json").write_text(self.calibrator.to_json())
        about = {
            "recsys_text": __version__,
            "cutoff": self.cutoff.isoformat(),
            "candidates": self.candidates.model_dump(mode="json"),
        }
        (folder / "bundle.json").write_text(json.dumps(about, indent=1))

    @classmethod
    def load(cls, folder: Path) -> Self:
        """Raises ConfigError where the folder holds no bundle."""
        try:
            about = json.loads((folder / "bundle.json").read_text())
        except FileNotFoundError:
            raise ConfigError(f"{folder} holds no bundle: it has no bundle.json") from None
        interest = load_model(folder)
        return cls(
            tokenizer=Tokenizer.from_json((folder / "tokenizer.json").read_text()),
            interest=interest,
            blend=Blend.from_text((folder / "blend.txt").read_text()),
            calibrator=Calibrator.from_json((folder / "calibrator.json").read_text()),
            model=interest.settings,
            candidates=Candidates.model_validate(about["candidates"]),
            cutoff=datetime.fromisoformat(about["cutoff"]),
        )


def interest_of(model: Interest, log: Log, items_ID: Floats, impressions: Impressions, history: int) -> Floats:
    """float32[P]: the match of each candidate with its user's clicks strictly before the impression."""
    users_ND = user_vectors(model, items_ID, histories(log, impressions.user, impressions.time, history))
    return np.einsum("pd,pd->p", users_ND[impressions.row], items_ID[impressions.item])
