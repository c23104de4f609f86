"""Tokenizer, text model, blend, calibrator and their settings as one unit. Knows its own folder and nothing else.

The one place where interest and score are computed: training rows, evaluation, `rank`, nightly scoring and
the MLflow model all come through here.
"""

import hashlib
import json
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import TYPE_CHECKING, Self

import numpy as np
from numpy.typing import NDArray

from recsys_text import __version__
from recsys_text.config import Candidates, Model
from recsys_text.errors import ConfigError, ContractError
from recsys_text.model.checkpoint import load_model, save_model
from recsys_text.model.scorer import Interest, item_vectors, user_vectors
from recsys_text.ranking.affinity import affinity, dots, nearness
from recsys_text.ranking.blend import Blend
from recsys_text.ranking.calibrate import Calibrator
from recsys_text.ranking.candidates import histories
from recsys_text.ranking.features import COUNTS, assemble, counts
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
        return (
            np.concatenate([np.zeros(0, np.float32), *(interest for interest, _ in parts)]),
            np.concatenate([np.zeros(0, np.float32), *(score for _, score in parts)]),
        )

    def _score(self, log: Log, items_ID: Floats, impressions: Impressions) -> tuple[Floats, Floats]:
        interest_P, features_PF = features(self.interest, log, items_ID, impressions, self.model.history)
        return interest_P, self.probability(features_PF)

    def probability(self, features_PF: Floats) -> Floats:
        """Calibrated click probability, float32[P], of pairs whose features are known."""
        return self.calibrator.predict(self.blend.predict(features_PF)).astype(np.float32)

    def save(self, folder: Path) -> None:
        """Writes safetensors, LightGBM's text and JSON into an empty folder, the checksums last."""
        folder.mkdir(parents=True, exist_ok=True)
        save_model(folder, self.interest)
        (folder / "tokenizer.json").write_text(self.tokenizer.to_json())
        self.blend.save(folder)
        (folder / "calibrator.json").write_text(self.calibrator.to_json())
        about = {
            "recsys_text": __version__,
            "cutoff": self.cutoff.isoformat(),
            "candidates": self.candidates.model_dump(mode="json"),
            "sha256": {path.name: _checksum(path) for path in sorted(folder.iterdir())},
        }
        (folder / "bundle.json").write_text(json.dumps(about, indent=1))

    @classmethod
    def load(cls, folder: Path) -> Self:
        """Raises ConfigError where the folder holds no bundle, ContractError where it is damaged."""
        if not (folder / "bundle.json").exists():
            raise ConfigError(f"{folder} holds no bundle: it has no bundle.json")
        try:
            about = json.loads((folder / "bundle.json").read_text())
            for name, checksum in about["sha256"].items():
                if _checksum(folder / name) != checksum:  # LightGBM, for one, crashes on half a model
                    raise ValueError(f"checksum of {name}")
            interest = load_model(folder)
            return cls(
                tokenizer=Tokenizer.from_json((folder / "tokenizer.json").read_text()),
                interest=interest,
                blend=Blend.load(folder),
                calibrator=Calibrator.from_json((folder / "calibrator.json").read_text()),
                model=interest.settings,
                candidates=Candidates.model_validate(about["candidates"]),
                cutoff=datetime.fromisoformat(about["cutoff"]),
            )
        except (OSError, ValueError, KeyError) as error:
            raise ContractError(
                f"the bundle in {folder} is damaged ({error}); remove the folder to fetch it anew"
            ) from None


def _checksum(path: Path) -> str:
    return hashlib.sha256(path.read_bytes()).hexdigest()


def features(
    model: Interest, log: Log, items_ID: Floats, impressions: Impressions, history: int
) -> tuple[Floats, Floats]:
    """Interest, float32[P], and the blend's features, float32[P, F]: both strictly before each impression."""
    history_NH = histories(log, impressions.user, impressions.time, history)
    users_ND = user_vectors(model, items_ID, history_NH)
    interest_P = dots(users_ND, items_ID, impressions.item, impressions.offsets)
    text = {"interest": interest_P} | affinity(log, items_ID, impressions, history_NH)
    return interest_P, assemble(counts(log, impressions), text, impressions.offsets)


class TextScorer:
    """The bundle as an MLflow pyfunc model: texts in, interest and score out, without a lake."""

    def __init__(self, bundle: Bundle) -> None:
        self._bundle = bundle

    def predict(self, frame: "pd.DataFrame") -> "pd.DataFrame":
        """One row per user: `history` (texts clicked, oldest first) and `candidates` (texts) to `interest` and `score`.

        Both are lists with a value per candidate. Columns named like those of `features.counts`, with a number per
        candidate, tell what is known of clicks and ages; without them everything counts as new and never clicked.
        """
        import pandas as pd  # noqa: PLC0415 - MLflow hands pandas in; nothing else needs it

        histories_N = [list(texts) for texts in frame["history"]]
        candidates_N = [list(texts) for texts in frame["candidates"]]
        texts = list(dict.fromkeys(text for row in (*histories_N, *candidates_N) for text in row))
        code = {text: position for position, text in enumerate(texts)}
        items_ID = self._bundle.item_vectors(texts)
        length = self._bundle.model.history
        history_NH = np.full((len(frame), length), -1, dtype=np.int32)
        for row, clicked in enumerate(histories_N):
            last = [code[text] for text in clicked[-length:]]
            history_NH[row, length - len(last) :] = last
        users_ND = user_vectors(self._bundle.interest, items_ID, history_NH)

        sizes_N = np.array([len(row) for row in candidates_N], dtype=np.int64)
        offsets = np.concatenate(([0], np.cumsum(sizes_N)))
        item_P = np.array([code[text] for row in candidates_N for text in row], dtype=np.int64)
        interest_P = dots(users_ND, items_ID, item_P, offsets)
        known = {name: np.zeros(len(item_P), np.float32) for name in COUNTS}
        known["user_clicks"] = np.repeat([len(row) for row in histories_N], sizes_N).astype(np.float32)
        for name in set(frame.columns) & set(COUNTS):
            known[name] = np.concatenate([np.asarray(row, np.float32) for row in frame[name]])
        text = {"interest": interest_P, "trend": np.zeros_like(interest_P)}
        text |= nearness(items_ID, item_P, offsets, history_NH)
        score_P = self._bundle.probability(assemble(known, text, offsets))
        split = offsets[1:-1]
        return pd.DataFrame(
            {
                "interest": [part.astype(float).tolist() for part in np.split(interest_P, split)],
                "score": [part.astype(float).tolist() for part in np.split(score_P, split)],
            },
            index=frame.index,
        )


def _load_pyfunc(path: str) -> TextScorer:
    """What MLflow calls to load the model."""
    return TextScorer(Bundle.load(Path(path)))
