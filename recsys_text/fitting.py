"""From a log and its texts to a bundle: text model, then blend, then calibration. Knows no paths and no MLflow.

Time goes only forward: the text model learns from the clicks of the older training windows and stops early on
the newest of them; the blend learns from the windows after those, and the calibrator from users of them that the
blend has not seen. All of it lies before the cutoff, so that the test windows are untouched.
"""

import itertools
from collections.abc import Sequence
from dataclasses import replace
from datetime import datetime
from typing import Protocol

import numpy as np

from recsys_text.bundle import WITHOUT_INTEREST, Bundle, Floats, features, in_parts, raw_scores
from recsys_text.config import Settings
from recsys_text.errors import ContractError
from recsys_text.model.checkpoint import Checkpoint
from recsys_text.model.collaborative import clicked_once, ease
from recsys_text.model.data import Rows, TrainSet, libraries, train_set
from recsys_text.model.fit import EpochResult, Progress, fit
from recsys_text.model.pretrain import Teacher, teacher_of
from recsys_text.model.scorer import build, item_vectors
from recsys_text.model.text_model import ALONE, DECAYS, NO_DECAY, PRIOR, Items, TextModel, tokens_of
from recsys_text.model.wide import Wide, fit_wide
from recsys_text.ranking.blend import Blend, fit_blend
from recsys_text.ranking.calibrate import Calibrator, fit_calibrator
from recsys_text.ranking.candidates import histories, pool_sizes, with_negatives
from recsys_text.ranking.features import FEATURES
from recsys_text.ranking.log import Impressions, Log, micros
from recsys_text.ranking.logged import evaluated_impressions, take, teaching_impressions
from recsys_text.ranking.neighbours import Neighbours, nearest
from recsys_text.text.tokenizer import train_tokenizer

#: Clicks that early stopping looks at: more of them cost time and move nothing.
_VALIDATION = 2000
#: One user in so many calibrates, the others teach the blend.
_CALIBRATION_SHARE = 5
#: They do so by impressions of so many times the room: how steep scores should be is told by few of them.
_CALIBRATION_TIMES = 2
#: Items whose clicks are weighed against each other, the most clicked ones: time grows as their third power.
_NEIGHBOUR_ITEMS = 8000
#: Of the fit of those weights, and how many of them each item keeps: both were best on goodbooks, clicks held out.
_NEIGHBOUR_PENALTY, _NEIGHBOURS = 100.0, 50
#: Pairs whose features the blend is fitted from, about: so many take two minutes on one thread.
_PAIRS = 16_000_000
#: Impressions without which there is nothing to learn, however large the pools.
_FEWEST = 200


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
    first_of_blend = len(starts) - blend_windows(log, [*starts, cutoff], settings)
    blend_start = starts[first_of_blend]
    older = starts[:first_of_blend]
    text, results = fit_text(
        log, texts, older, end=blend_start, settings=settings, checkpoint=checkpoint, progress=progress
    )
    items = text.items(texts, log.item_ids)
    progress.stage(f"Blend: learning from what came since {blend_start:%Y-%m-%dT%H:%MZ}")
    blend, without_interest, calibrator = fit_ranker(text, log, items, [*starts[first_of_blend:], cutoff], settings)
    # Only now may the wide path and the neighbours see the newest clicks: the blend has learned from what they said
    # without them.
    everything = _clicks(log, starts[0], cutoff, settings, settings.training.max_clicks)
    bundle = Bundle(
        text=replace(text, wide=_fit_wide(log, texts, everything, cutoff, settings)),
        neighbours=fit_neighbours(log, cutoff),
        blend=blend,
        without_interest=without_interest,
        calibrator=calibrator,
        candidates=settings.candidates,
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
    wide: Wide | None = None,
) -> tuple[TextModel, list[EpochResult]]:
    """Trains the text model on the clicks before `end`; the newest of the windows that begin at `starts` stops it.

    wide: the wide path of a model that was trained on the same, where there is one: it depends on no network.
    """
    training, model, stop_start = settings.training, settings.model, starts[-1]
    known_I = log.known_at < micros(end)
    progress.stage(f"Tokenizer: learning from {int(known_I.sum()):,} texts")
    tokenizer = train_tokenizer([text for text, known in zip(texts, known_I, strict=True) if known], model.vocabulary)
    encoded = tokens_of(tokenizer, texts, model)
    train = _clicks(log, starts[0], stop_start, settings, training.max_clicks)
    valid = _clicks(log, stop_start, end, settings, _VALIDATION)
    wide = wide or _fit_wide(log, texts, train, stop_start, settings)
    teacher = _teacher(wide, texts, log.item_ids, settings)
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
        fresh_N = ~np.isin(valid.candidates_NC[:, 0], log.item[before])
        # A library's next clicks are on items that taught the parts, beside others that did: no judge of new ones.
        decays: Sequence[float] = DECAYS
        if training.task == "hidden":
            fresh_N[:], decays = False, NO_DECAY
        text = text.weighed(text.items(texts, log.item_ids), valid, fresh_N, decays)
    return text, results


def _teacher(wide: Wide, texts: Sequence[str], item_ids: Sequence[str], settings: Settings) -> Teacher:
    """Match and collaborative side by side, as they weigh before anything is known of a log."""
    match, place, _ = wide.width
    candidate_IW, click_IW = (vec_IW[:, : match + place] for vec_IW in wide.items(texts, item_ids))
    for weight, columns in zip(PRIOR[1:3], np.split(np.arange(match + place), [match]), strict=True):
        candidate_IW[:, columns] *= weight
        # Users are of length 1 in each part.
        click_IW[:, columns] /= np.sqrt(np.mean(np.sum(click_IW[:, columns] ** 2, axis=1))) or 1
    return teacher_of(candidate_IW, click_IW, settings.model.dim, settings.training.seed)


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


def fit_neighbours(log: Log, end: datetime) -> Neighbours:
    """What a click on one item says for another, from the clicks before `end` on the most clicked items."""
    before = log.positive & (log.time < micros(end))
    clicks_UI = clicked_once(log.user[before], log.item[before], (len(log.user_ids), len(log.item_ids)))
    counts_I = np.asarray(clicks_UI.sum(0)).ravel()
    most = np.lexsort((log.neutral, -counts_I))[:_NEIGHBOUR_ITEMS]
    most = np.sort(most[counts_I[most] > 0])
    weights_JJ = ease(clicks_UI[:, most], _NEIGHBOUR_PENALTY)
    return nearest([log.item_ids[item] for item in most], weights_JJ, _NEIGHBOURS)


def blend_windows(log: Log, bounds: Sequence[datetime], settings: Settings) -> int:
    """How many of the windows between `bounds` the blend learns from: `training.blend_windows` at most.

    No more than fill its room: the newer they are, the more alike is what the text model and the neighbours have seen
    before them to what they will have seen when they serve.
    """
    most = min(settings.training.blend_windows, (len(bounds) - 2) // 2)
    room, ends = _room(log, bounds, settings), np.array([micros(end) for end in bounds])
    if settings.evaluation.at == "click":
        needed = room * _CALIBRATION_SHARE / (_CALIBRATION_SHARE - 1)  # the users who calibrate do not teach
        sizes_W = np.histogram(log.time[log.positive], ends)[0].tolist()
    else:
        needed, clicks = _CALIBRATION_TIMES * room, log.clicks_of_user
        stops_WU = [clicks.stop(np.arange(len(log.user_ids)), clicks.rank(end)) for end in ends[:, None]]
        sizes_W = [int(np.sum(later > earlier)) for earlier, later in itertools.pairwise(stops_WU)]
    return next((count for count in range(1, most) if sum(sizes_W[-count:]) >= needed), most)


def _room(log: Log, bounds: Sequence[datetime], settings: Settings) -> int:
    """How many impressions the blend learns from: fewer where pools are large."""
    low, high = np.searchsorted(log.logged.time, [micros(bounds[0]), micros(bounds[-1])])
    if low < high and settings.evaluation.at == "click":  # lists that were shown are short, whatever the pools
        return settings.training.blend_clicks
    pool = int(pool_sizes(log, np.array([micros(bounds[-1])]), settings.candidates)[0])
    return min(settings.training.blend_clicks, max(_FEWEST, _PAIRS // max(1, pool)))


def newest_impressions(log: Log, bounds: Sequence[datetime], settings: Settings, most: int) -> Impressions:
    """At most so many impressions of the kind that are evaluated, from the windows between `bounds`."""
    spans, at, seed = list(itertools.pairwise(bounds)), settings.evaluation.at, settings.training.seed
    return evaluated_impressions(log, spans, settings.candidates, at=at, max_impressions=most, seed=seed)[0]


def fit_ranker(
    text: TextModel, log: Log, items: Items, bounds: Sequence[datetime], settings: Settings
) -> tuple[Blend, Blend, Calibrator]:
    """The blend, the same without the interest, and the calibrator of the first, from the windows between `bounds`.

    Features are computed in whole pools, as when they are served; only then are rows left out for the blend.
    """
    room, seed = _room(log, bounds, settings), settings.training.seed
    impressions = newest_impressions(log, bounds, settings, _CALIBRATION_TIMES * room)
    if not len(impressions):
        raise ContractError(
            "no click of the newest training windows is in its candidate pool; check [candidates] and known_at of items"
        )
    neighbours, draw = fit_neighbours(log, bounds[0]), np.random.default_rng(seed)
    # Drawn, not cut: users are sorted by id, and ids often tell who came first.
    calibrates_U = draw.integers(0, _CALIBRATION_SHARE, len(log.user_ids)) == 0
    calibrates_N = calibrates_U[impressions.user]
    if calibrates_N.all() or not calibrates_N.any():
        users = len(np.unique(impressions.user))
        raise ContractError(
            f"the newest training windows have clicks of {users} users: too few to teach the blend by some and to "
            "calibrate it by others; take more windows"
        )
    others_N = np.flatnonzero(~calibrates_N)
    teaching = take(impressions, np.sort(draw.choice(others_N, min(room, len(others_N)), replace=False)))
    # As many others beside each click, where several of an impression were clicked.
    others = round(
        settings.training.blend_candidates
        * float(np.mean(impressions.clicked))
        * len(impressions.item)
        / len(impressions)
    )
    few, catalogue = with_negatives(teaching, others, seed), len(log.item_ids)
    # Candidates ascend in each impression, so that a pair has one place among all.
    kept_P = np.searchsorted(teaching.row * catalogue + teaching.item, few.row * catalogue + few.item)

    def work(part: Impressions) -> Floats:
        return features(text, neighbours, log, items, part)[1]

    taught_PF = np.empty((len(kept_P), len(FEATURES)), np.float32)
    begin = 0
    for features_PF in in_parts(work, text, log, teaching):
        low, high = np.searchsorted(kept_P, [begin, begin + len(features_PF)])
        taught_PF[low:high] = features_PF[kept_P[low:high] - begin]
        begin += len(features_PF)
    blend, without_interest = (
        fit_blend(
            taught_PF[:, places],
            few.clicked,
            few.offsets,
            teaching.user,
            kind=settings.blend.kind,
            names=[FEATURES[place] for place in places],
            seed=seed,
        )
        for places in (list(range(len(FEATURES))), WITHOUT_INTEREST)
    )
    calibrating = take(impressions, np.flatnonzero(calibrates_N))
    raw_P = raw_scores(blend, text, neighbours, log, items, calibrating)
    return blend, without_interest, fit_calibrator(raw_P, calibrating.clicked, calibrating.offsets)
