"""Tokenizer, text model, neighbours, blend, calibrator and their settings as one unit. Knows its own folder only.

The one place where interest and score are computed: training rows, evaluation, `rank`, nightly scoring and
the MLflow model all come through here.
"""

import hashlib
import itertools
import json
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from threading import Lock
from typing import TYPE_CHECKING, Literal, Self, TypeVar

import numpy as np
from numpy.typing import NDArray
from safetensors import SafetensorError
from threadpoolctl import threadpool_limits

from recsys_text import __version__
from recsys_text.errors import ConfigError, ContractError
from recsys_text.model.text_model import Items, TextModel, clicks_read
from recsys_text.plan import AS_SET, Plan
from recsys_text.ranking.affinity import AFFINITY, affinity, dots, nearness
from recsys_text.ranking.blend import Blend
from recsys_text.ranking.calibrate import Calibrator
from recsys_text.ranking.candidates import histories
from recsys_text.ranking.features import COUNTS, FEATURES, INTEREST_FEATURES, assemble, counts
from recsys_text.ranking.log import Impressions, Log, no_impressions
from recsys_text.ranking.neighbours import TOGETHER, Neighbours, together
from recsys_text.ranking.timeline import Ints
from recsys_text.sections import Candidates
from recsys_text.threads import in_threads, processors
from recsys_text.torch_threads import one_thread

if TYPE_CHECKING:
    import pandas as pd

Floats = NDArray[np.float32]
#: Pairs scored at a time: bounds the memory of the features to some hundreds of megabytes.
CHUNK = 500_000
#: Parts of a chunk that are scored side by side at most.
_THREADS = 8
#: The number of threads is the process's own: who comes second waits, or would restore what the first one set.
_ALONE = Lock()
Result = TypeVar("Result")
#: Called with the number of impressions of a call that are done.
OnProgress = Callable[[int], None]
_WITHOUT = "without_interest"
#: The places of the features that know nothing of texts.
WITHOUT_INTEREST = [place for place, name in enumerate(FEATURES) if name not in INTEREST_FEATURES]


@dataclass(frozen=True, kw_only=True)
class Bundle:
    """One trained unit. `cutoff`: it has seen only what is strictly before; `candidates` and `at`: what it ranks, and
    whether at each click or once for each user at the start of a window; `plan`: the sizes it was trained with.

    `without_interest` is the blend fitted on the same rows without INTEREST_FEATURES: what evaluation compares with.
    """

    text: TextModel
    neighbours: Neighbours
    blend: Blend
    without_interest: Blend
    calibrator: Calibrator
    candidates: Candidates
    at: Literal["click", "window"]
    cutoff: datetime
    plan: Plan = AS_SET

    def score(
        self, log: Log, items: Items, impressions: Impressions, *, on_progress: OnProgress | None = None
    ) -> tuple[Floats, Floats]:
        """Interest and calibrated click probability of each pair, float32[P] each, as of its impression's time.

        The calibration is that of the cutoff, but for a bundle that was `following.followed` to that time.
        on_progress: called with the number of impressions that are done.
        """

        def work(part: Impressions) -> tuple[Floats, Floats]:
            interest_P, features_PF = features(self.text, self.neighbours, log, items, part)
            return interest_P, self.probability(features_PF, part.offsets, part.time, threads=1)

        found = [(np.zeros(0, np.float32),) * 2, *in_parts(work, self.text, log, impressions, on_progress)]
        interest_P, score_P = (np.concatenate(parts) for parts in zip(*found, strict=True))
        return interest_P, score_P

    def compare(
        self, log: Log, items: Items, impressions: Impressions, *, on_progress: OnProgress | None = None
    ) -> tuple[Floats, Floats, Floats]:
        """As `score`, and the raw scores of the blend without the interest, of which only the order has a meaning."""

        def work(part: Impressions) -> tuple[Floats, Floats, Floats]:
            interest_P, features_PF = features(self.text, self.neighbours, log, items, part)
            # Indexing with a list would lay columns one after the other, which takes ten times as long.
            without_PF = features_PF.take(WITHOUT_INTEREST, axis=1)
            without_P = self.without_interest.predict(without_PF, threads=1).astype(np.float32)
            return interest_P, self.probability(features_PF, part.offsets, part.time, threads=1), without_P

        found = [(np.zeros(0, np.float32),) * 3, *in_parts(work, self.text, log, impressions, on_progress)]
        interest_P, score_P, without_P = (np.concatenate(parts) for parts in zip(*found, strict=True))
        return interest_P, score_P, without_P

    def probability(
        self,
        features_PF: Floats,
        offsets_N1: NDArray[np.int64],
        time_N: NDArray[np.int64] | None = None,
        *,
        threads: int = 0,
    ) -> Floats:
        """Calibrated click probability, float32[P], of the candidates of whole impressions whose features are known.

        time_N: int64[N], microseconds, of each impression; without it the calibration is that of the cutoff.
        """
        raw_P = self.blend.predict(features_PF, threads=threads)
        return self.calibrator.predict(raw_P, offsets_N1, time_N).astype(np.float32)

    def save(self, folder: Path) -> None:
        """Writes safetensors, LightGBM's text and JSON into an empty folder, the checksums last."""
        folder.mkdir(parents=True, exist_ok=True)
        self.text.save(folder)
        self.neighbours.save(folder)
        self.blend.save(folder)
        (folder / _WITHOUT).mkdir()
        self.without_interest.save(folder / _WITHOUT)
        (folder / "calibrator.json").write_text(self.calibrator.to_json())
        about = {
            "recsys_text": __version__,
            "cutoff": self.cutoff.isoformat(),
            "candidates": self.candidates.model_dump(mode="json"),
            "at": self.at,
            "plan": self.plan.model_dump(mode="json"),
            "sha256": {
                path.relative_to(folder).as_posix(): _checksum(path)
                for path in sorted(folder.rglob("*"))
                if path.is_file()
            },
        }
        (folder / "bundle.json").write_text(json.dumps(about, indent=1))

    @classmethod
    def load(cls, folder: Path) -> Self:
        """Raises ConfigError where no bundle is, ContractError for a damaged one and one of other features."""
        if not (folder / "bundle.json").exists():
            raise ConfigError(f"{folder} holds no bundle: it has no bundle.json")
        try:
            about = json.loads((folder / "bundle.json").read_text())
            for name, checksum in about["sha256"].items():
                if _checksum(folder / name) != checksum:  # LightGBM, for one, crashes on half a model
                    raise ValueError(f"checksum of {name}")
        except (OSError, ValueError, KeyError) as error:
            raise ContractError(
                f"the bundle in {folder} is damaged ({error}); remove the folder to fetch it anew"
            ) from None
        written_by = f"the bundle in {folder} is of recsys-text {about.get('recsys_text')} and"
        try:
            blend, without_interest = Blend.load(folder), Blend.load(folder / _WITHOUT)
            if blend.features != FEATURES:
                raise ContractError(f"{written_by} of other features than this version computes; train again")
            return cls(
                text=TextModel.load(folder),
                neighbours=Neighbours.load(folder),
                blend=blend,
                without_interest=without_interest,
                calibrator=Calibrator.from_json((folder / "calibrator.json").read_text()),
                candidates=Candidates.model_validate(about["candidates"]),
                at=about["at"],
                cutoff=datetime.fromisoformat(about["cutoff"]),
                plan=Plan.model_validate(about["plan"]),
            )
        except (OSError, ValueError, KeyError, SafetensorError) as error:  # what is there is as it was written
            raise ContractError(
                f"{written_by} written in another way than this version reads ({error}); train again"
            ) from None


def _checksum(path: Path) -> str:
    return hashlib.sha256(path.read_bytes()).hexdigest()


def in_parts(
    work: Callable[[Impressions], Result],
    text: TextModel,
    log: Log,
    impressions: Impressions,
    on_progress: OnProgress | None = None,
) -> Iterator[Result]:
    """Work that asks the text model on parts of the impressions, one on each core; results in order.

    on_progress: called with the number of impressions that are done.

    The products within a part are small: threads of the linear algebra would wait for each other longer than they
    compute. What all parts share is made before they start: what the log keeps, and the mode of the network.
    """
    threads = min(_THREADS, processors())
    with _ALONE:
        counts(log, no_impressions())
        _ = log.dislikes_of_user
        network, training = text.network, text.network.training
        network.eval()
        try:
            with threadpool_limits(1, "blas"), one_thread():
                parts = list(impressions.chunks(CHUNK // threads))
                ends = itertools.accumulate(len(part) for part in parts)
                for done, result in zip(ends, in_threads(work, parts, threads), strict=True):
                    if on_progress is not None:
                        on_progress(done)
                    yield result
        finally:
            network.train(training)


def features(
    text: TextModel, neighbours: Neighbours, log: Log, items: Items, impressions: Impressions
) -> tuple[Floats, Floats]:
    """Interest, float32[P], and the blend's features, float32[P, F]: both strictly before each impression."""
    history_NH = histories(log, impressions.user, impressions.time, clicks_read(text.settings))
    who_N = text.who(impressions.user, log.user_ids)
    interest_P = _interest(text, items, history_NH, impressions.item, impressions.offsets, who_N)
    said = {"interest": interest_P} | affinity(log, items.about, impressions, history_NH[:, -text.settings.history :])
    said |= together(log, impressions, neighbours)
    return interest_P, assemble(counts(log, impressions), said, impressions.offsets)


def raw_scores(
    blend: Blend, text: TextModel, neighbours: Neighbours, log: Log, items: Items, impressions: Impressions
) -> NDArray[np.float64]:
    """What the blend says before calibration, float64[P], as of each impression's time."""

    def work(part: Impressions) -> NDArray[np.float64]:
        return blend.predict(features(text, neighbours, log, items, part)[1], threads=1)

    return np.concatenate([np.zeros(0), *in_parts(work, text, log, impressions)])


def _interest(
    text: TextModel,
    items: Items,
    history_NH: NDArray[np.int32],
    item_P: Ints,
    offsets_N1: NDArray[np.int64],
    who_N: NDArray[np.int64] | None = None,
) -> Floats:
    """Rounded: the last bits of a sum depend on where an item stands among others, and must not order equal texts."""
    return np.round(dots(text.users(items, history_NH, who_N), items.candidate, item_P, offsets_N1), 4)


class TextScorer:
    """The bundle as an MLflow pyfunc model: texts in, interest and score out, without a lake."""

    def __init__(self, bundle: Bundle) -> None:
        self._bundle = bundle

    def predict(self, frame: "pd.DataFrame") -> "pd.DataFrame":
        """One row per user: `history` (texts clicked, oldest first) and `candidates` (texts) to `interest` and `score`.

        Both are lists with a value per candidate. Columns named like those of `features.counts`, with a number per
        candidate, tell what is known of clicks and ages; without them everything counts as new and never clicked. Texts
        have no ids, so that neighbours say nothing, and there is no log that calibration could follow.
        """
        import pandas as pd  # noqa: PLC0415 - MLflow hands pandas in; nothing else needs it

        histories_N = [list(texts) for texts in frame["history"]]
        candidates_N = [list(texts) for texts in frame["candidates"]]
        texts = list(dict.fromkeys(text for row in (*histories_N, *candidates_N) for text in row))
        code = {text: position for position, text in enumerate(texts)}
        items = self._bundle.text.items(texts)
        length = clicks_read(self._bundle.text.settings)
        history_NH = np.full((len(frame), length), -1, dtype=np.int32)
        for row, clicked in enumerate(histories_N):
            last = [code[text] for text in clicked[-length:]]
            history_NH[row, length - len(last) :] = last

        sizes_N = np.array([len(row) for row in candidates_N], dtype=np.int64)
        offsets = np.concatenate(([0], np.cumsum(sizes_N)))
        item_P = np.array([code[text] for row in candidates_N for text in row], dtype=np.int64)
        interest_P = _interest(self._bundle.text, items, history_NH, item_P, offsets)
        known = {name: np.zeros(len(item_P), np.float32) for name in COUNTS}
        known["user_clicks"] = np.repeat([len(row) for row in histories_N], sizes_N).astype(np.float32)
        for name in set(frame.columns) & set(COUNTS):
            known[name] = np.concatenate([np.asarray(row, np.float32) for row in frame[name]])
        text = dict.fromkeys((*AFFINITY, *TOGETHER), np.zeros_like(interest_P)) | {"interest": interest_P}
        text |= nearness(items.about, item_P, offsets, history_NH[:, -self._bundle.text.settings.history :])
        score_P = self._bundle.probability(assemble(known, text, offsets), offsets)
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
