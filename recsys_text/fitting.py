"""From a log and its texts to a bundle: text model, then blend, then calibration. Knows no paths and no MLflow.

Time goes only forward: the text model learns from the clicks of the older training windows and stops early on
the newest of them; the blend learns from the windows after those, and the calibrator from users of them that the
blend has not seen. All of it lies before the cutoff, so that the test windows are untouched.
"""

from collections.abc import Sequence
from dataclasses import replace
from datetime import datetime
from typing import Protocol

import numpy as np

from recsys_text.bundle import CHUNK, WITHOUT_INTEREST, Bundle, features
from recsys_text.config import Settings
from recsys_text.errors import ContractError
from recsys_text.model.checkpoint import Checkpoint
from recsys_text.model.collaborative import clicked_once
from recsys_text.model.data import Rows, TrainSet, libraries, train_set
from recsys_text.model.fit import EpochResult, Progress, fit
from recsys_text.model.pretrain import teacher_of
from recsys_text.model.scorer import build, item_vectors
from recsys_text.model.text_model import ALONE, Items, TextModel, tokens_of
from recsys_text.model.wide import Wide, fit_wide
from recsys_text.ranking.blend import Blend, fit_blend
from recsys_text.ranking.calibrate import Calibrator, fit_calibrator
from recsys_text.ranking.candidates import histories, with_negatives
from recsys_text.ranking.features import FEATURES
from recsys_text.ranking.log import Impressions, Log, micros
from recsys_text.ranking.logged import impressions_between, teaching_impressions
from recsys_text.text.tokenizer import train_tokenizer

#: Clicks that early stopping looks at: more of them cost time and move nothing.
_VALIDATION = 2000
#: One user in so many calibrates, the others teach the blend.
_CALIBRATION_SHARE = 5


class Stages(Progress, Protocol):
    """Shows the progress of a whole training."""

    def stage(self, name: str) -> None: ...


def fit_bundle(
    log: Log,
    texts: Sequence[str],
    starts: Sequence[datetime],
    *,
    cutoff: datetime,
    settings: Settings,
    checkpoint: Checkpoint,
    progress: Stages,
) -> tuple[Bundle, list[EpochResult]]:
    """Trains everything on a log that ends strictly before `cutoff`; one text per item of the log.

    `starts` are the starts of the training windows, oldest first. Raises ContractError when there are fewer than
    three, or when none of their clicks is in its candidate pool.
    """
    if len(starts) < 3:
        raise ContractError(
            f"training needs three windows before {cutoff:%Y-%m-%dT%H:%MZ}, and the lake has {len(starts)}; "
            "extract older windows or give a later --cutoff"
        )
    first_of_blend = len(starts) - min(settings.training.blend_windows, (len(starts) - 1) // 2)
    blend_start = starts[first_of_blend]
    older = starts[:first_of_blend]
    text, results = fit_text(
        log, texts, older, end=blend_start, settings=settings, checkpoint=checkpoint, progress=progress
    )
    items = text.items(texts, log.item_ids)
    training, pool = settings.training, settings.candidates
    newest, _ = impressions_between(
        log, blend_start, cutoff, pool, max_impressions=training.blend_clicks, seed=training.seed
    )
    progress.stage(f"Blend: learning from {len(newest):,} clicks since {blend_start:%Y-%m-%dT%H:%MZ}")
    blend, without_interest, calibrator = _fit_ranker(text, log, items, newest, settings)
    # Only now may the wide path see the newest clicks: the blend has learned from what it said without them.
    everything = _clicks(log, starts[0], cutoff, settings, training.max_clicks)
    bundle = Bundle(
        text=replace(text, wide=_fit_wide(log, texts, everything, cutoff, settings)),
        blend=blend,
        without_interest=without_interest,
        calibrator=calibrator,
        candidates=pool,
        cutoff=cutoff,
    )
    return bundle, results


def fit_text(
    log: Log,
    texts: Sequence[str],
    starts: Sequence[datetime],
    *,
    end: datetime,
    settings: Settings,
    checkpoint: Checkpoint | None = None,
    progress: Stages,
) -> tuple[TextModel, list[EpochResult]]:
    """Trains the text model on the clicks before `end`; the newest of the windows that begin at `starts` stops it."""
    training, model, stop_start = settings.training, settings.model, starts[-1]
    known_I = log.known_at < micros(end)
    progress.stage(f"Tokenizer: learning from {int(known_I.sum()):,} texts")
    tokenizer = train_tokenizer([text for text, known in zip(texts, known_I, strict=True) if known], model.vocabulary)
    encoded = tokens_of(tokenizer, texts, model)
    train = _clicks(log, starts[0], stop_start, settings, training.max_clicks)
    valid = _clicks(log, stop_start, end, settings, _VALIDATION)
    wide = _fit_wide(log, texts, train, stop_start, settings)
    candidate_IW, click_IW = wide.items(texts, log.item_ids)
    teacher = teacher_of(candidate_IW[:, :-1], click_IW, model.dim, training.seed)
    before = log.positive & (log.time < micros(stop_start))
    rows: Rows = train
    if training.task == "hidden":
        clicks_UI = clicked_once(log.user[before], log.item[before], (len(log.user_ids), len(log.item_ids)))
        rows = libraries(clicks_UI, known_I, training.hidden, model.history, training.negatives)
    progress.stage(f"Text model: learning from {len(rows):,} rows before {stop_start:%Y-%m-%dT%H:%MZ}")
    network = build(model, tokenizer.vocabulary, training.seed, len(texts), len(log.user_ids))
    results = fit(network, *encoded, teacher, rows, valid, known_I, training, checkpoint=checkpoint, progress=progress)
    item_ids: tuple[str, ...] = ()
    if network.table is not None:
        clicked = np.unique(log.item[before]).astype(np.int64)
        network.translate(item_vectors(network, encoded[0][clicked], encoded[1][clicked]), clicked)
        item_ids = tuple(log.item_ids[item] for item in clicked)
    text = TextModel(tokenizer=tokenizer, network=network, wide=wide, weights=ALONE, item_ids=item_ids)
    if model.long_term:
        text = replace(text, user_ids=tuple(log.user_ids))
    if model.wide:
        text = text.weighed(text.items(texts, log.item_ids), valid)
    return text, results


def _clicks(log: Log, start: datetime, end: datetime, settings: Settings, most: int) -> TrainSet:
    training = settings.training
    few = teaching_impressions(
        log, start, end, settings.candidates, max_impressions=most, seed=training.seed, negatives=training.negatives
    )
    history_NH = histories(log, few.user, few.time, settings.model.history)
    learned = settings.model.clicks == "learned"
    users_N = few.user if settings.model.long_term else None
    return train_set(history_NH, few.offsets, few.item, few.clicked, learned, users_N)


def _fit_wide(log: Log, texts: Sequence[str], rows: TrainSet, end: datetime, settings: Settings) -> Wide:
    """The wide path from all clicks before `end`; `rows` tell how often items were candidates."""
    before, size = log.positive & (log.time < micros(end)), (len(log.user_ids), len(log.item_ids))
    clicks_UI = clicked_once(log.user[before], log.item[before], size)
    others = rows.candidates_NC[:, 1:]
    shown_I = np.bincount(others[others >= 0], minlength=size[1]) * (clicks_UI.nnz / max(1, int(np.sum(others >= 0))))
    known_I = log.known_at < micros(end)
    return fit_wide(
        texts, log.item_ids, clicks_UI, shown_I, known_I, log.neutral, settings.model, settings.training.seed
    )


def _fit_ranker(
    text: TextModel, log: Log, items: Items, impressions: Impressions, settings: Settings
) -> tuple[Blend, Blend, Calibrator]:
    """The blend, the same without the interest, and the calibrator of the first.

    Features are computed in whole pools, as when they are served; only then are rows left out for the blend.
    """
    seed = settings.training.seed
    # Drawn, not cut: users are sorted by id, and ids often tell who came first.
    calibrates_U = np.random.default_rng(seed).integers(0, _CALIBRATION_SHARE, len(log.user_ids)) == 0
    calibrates_N = calibrates_U[impressions.user]
    teaching, clicked, kept, whole, labels = [], [], [], [], []
    done = 0
    for part in impressions.chunks(CHUNK):
        _, features_PF = features(text, log, items, part)
        calibrates = calibrates_N[done : done + len(part)]
        done += len(part)
        few = with_negatives(part, settings.training.blend_candidates, seed)
        catalogue = len(log.item_ids)
        chosen_P = np.zeros(len(part.item), dtype=np.bool_)
        chosen_P[np.searchsorted(part.row * catalogue + part.item, few.row * catalogue + few.item)] = True
        chosen_P &= ~calibrates[part.row]
        teaching.append(features_PF[chosen_P])
        clicked.append(part.clicked[chosen_P])
        kept.append(np.diff(few.offsets)[~calibrates])
        whole.append(features_PF[calibrates[part.row]])
        labels.append(part.clicked[calibrates[part.row]])
    if not teaching:
        raise ContractError(
            "no click of the newest training windows is in its candidate pool; check [candidates] and known_at of items"
        )
    teaching_PF = np.concatenate(teaching)
    blend, without_interest = (
        fit_blend(
            teaching_PF[:, places],
            np.concatenate(clicked),
            np.concatenate(([0], np.cumsum(np.concatenate(kept)))),
            impressions.user[~calibrates_N],
            kind=settings.blend.kind,
            names=[FEATURES[place] for place in places],
            seed=seed,
        )
        for places in (list(range(len(FEATURES))), WITHOUT_INTEREST)
    )
    return blend, without_interest, fit_calibrator(blend.predict(np.concatenate(whole)), np.concatenate(labels))
