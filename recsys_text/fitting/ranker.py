"""Neighbours, blend and calibration from windows that the text model has not seen. Knows no paths and no MLflow."""

import itertools
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from datetime import datetime

import numpy as np
from scipy.sparse import csr_matrix

from recsys_text.bundle import WITHOUT_INTEREST, Bundle, Floats, OnProgress, features, in_parts, raw_scores
from recsys_text.config import Settings
from recsys_text.errors import ContractError
from recsys_text.fitting.mixture import SHARES, choose_share
from recsys_text.model.collaborative import bm25, clicked_once, ease
from recsys_text.model.text_model import Items, TextModel
from recsys_text.progress import SILENT, Stages, part_of
from recsys_text.ranking.blend import Blend, continue_blend, fit_blend
from recsys_text.ranking.calibrate import Calibrator, fit_calibrator
from recsys_text.ranking.candidates import joined, pool_sizes, with_negatives
from recsys_text.ranking.features import FEATURES
from recsys_text.ranking.log import Impressions, Log, micros
from recsys_text.ranking.logged import evaluated_impressions, take
from recsys_text.ranking.neighbours import Neighbours, nearest
from recsys_text.ranking.publication import as_published, publications, useful

#: Users without which none is left to teach the blend beside those who calibrate it.
FEWEST_USERS = 2
#: One user in so many calibrates, the others teach the blend.
_CALIBRATION_SHARE = 5
#: They do so by impressions of so many times the room: how steep scores should be is told by few of them.
_CALIBRATION_TIMES = 2
#: Items whose clicks are weighed against each other, the most clicked ones: time grows as their third power.
_NEIGHBOUR_ITEMS = 8000
#: Of the fit of those weights, and how many of them each item keeps: both were best on goodbooks, clicks held out.
_NEIGHBOUR_PENALTY, _NEIGHBOURS = 100.0, 50
_BM25_NEIGHBOURS = 100
#: Pairs whose features the blend is fitted from, about: so many take two minutes on one thread.
_PAIRS = 16_000_000
#: What an impression of a cold start weighs. They are few, and what ranks them well differs from what ranks most:
#: without it their lists were worse than those by recency or popularity alone (questions and answers).
_COLD_START = 2.0
#: Pairs that the blend learns from at most, once candidates are left out.
ROWS = 600_000
#: Impressions without which there is nothing to learn, however large the pools.
_FEWEST = 200
#: Windows that the blend learns from at least: all lists of a window are published at one time, with one state of every
#: item, and what makes an item's next day is told by days, not by lists. Where items do not age, no more than hold this
#: share of the clicks: of those the text model and the neighbours make more than the blend.
_FEWEST_WINDOWS, _CLICKS_SHARE = 7, 0.15
#: A blend that goes on has a room so many times smaller: it knows most of it.
_WARM = 4
#: What the networks count for in each kind of blend.
NETWORKS = {"lightgbm": 0.0, "mlp": 1.0, "both": 0.5}
#: The columns of the blend, none of them copied, and of the one without the interest.
_COLUMNS: tuple[slice | list[int], ...] = (slice(None), WITHOUT_INTEREST)
_NAMES = np.array(FEATURES)


def fit_neighbours(log: Log, end: datetime) -> Neighbours:
    """What a click on one item says for another, from the clicks before `end`.

    EASE weighs the most clicked items against each other; BM25 knows all, however many.
    """
    before = log.positive & (log.time < micros(end))
    clicks_UI = clicked_once(log.user[before], log.item[before], (len(log.user_ids), len(log.item_ids)))
    counts_I = np.asarray(clicks_UI.sum(0)).ravel()
    clicked = np.flatnonzero(counts_I)
    clicks_UJ = clicks_UI[:, clicked]
    most = np.sort(np.lexsort((log.neutral[clicked], -counts_I[clicked]))[:_NEIGHBOUR_ITEMS])
    few = nearest(ease(clicks_UJ[:, most], _NEIGHBOUR_PENALTY), _NEIGHBOURS).tocoo()
    places = csr_matrix((few.data, (most[few.row], most[few.col])), shape=(len(clicked), len(clicked)))
    weights = {"ease": places, "bm25": bm25(clicks_UJ, _BM25_NEIGHBOURS)}
    return Neighbours(item_ids=[log.item_ids[item] for item in clicked], weights=weights)


def blend_windows(log: Log, bounds: Sequence[datetime], settings: Settings) -> int:
    """How many of the windows between `bounds` the blend learns from: `training.blend_windows` at most.

    No more than fill its room: the newer they are, the more alike is what the text model and the neighbours have seen
    before them to what they will have seen when they serve.
    """
    most = min(settings.training.blend_windows, (len(bounds) - 2) // 2)
    most_taught, ends = room(log, bounds, settings), np.array([micros(end) for end in bounds])
    if settings.evaluation.at == "click":
        needed = most_taught * _CALIBRATION_SHARE / (_CALIBRATION_SHARE - 1)  # the users who calibrate do not teach
        sizes_W = np.histogram(log.time[log.positive], ends)[0].tolist()
    else:
        needed, clicks = _CALIBRATION_TIMES * most_taught, log.clicks_of_user
        stops_WU = [clicks.stop(np.arange(len(log.user_ids)), clicks.rank(end)) for end in ends[:, None]]
        sizes_W = [int(np.sum(later > earlier)) for earlier, later in itertools.pairwise(stops_WU)]
    fewest = _FEWEST_WINDOWS
    if settings.candidates.pool == "all":
        clicks_W = np.histogram(log.time[log.positive], ends)[0][::-1]
        fewest = min(fewest, max(1, int(np.sum(np.cumsum(clicks_W) <= _CLICKS_SHARE * clicks_W.sum()))))
    return next((count for count in range(min(fewest, most), most) if sum(sizes_W[-count:]) >= needed), most)


def room(log: Log, bounds: Sequence[datetime], settings: Settings) -> int:
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


@dataclass(frozen=True, kw_only=True, eq=False)
class Lesson:
    """What the blend learns from and what calibrates it: impressions of different users.

    features: float32[P, F] of the pairs of `taught`, which are impressions as they were when they were shown and again
    as scores published before then served them; weights: float32[N] of each of `taught`; `calibrating` are whole pools,
    as served.
    """

    features: Floats
    taught: Impressions
    weights: Floats
    calibrating: Impressions


def fit_ranker(
    text: TextModel,
    log: Log,
    items: Items,
    bounds: Sequence[datetime],
    settings: Settings,
    progress: Stages = SILENT,
) -> tuple[Blend, Blend, Calibrator]:
    """The blend, the same without the interest, and the calibrator of the first, from the windows between `bounds`."""
    neighbours = fit_neighbours(log, bounds[0])
    found = lesson(text, neighbours, log, items, bounds, settings, room(log, bounds, settings), progress)
    share = _share(found, settings, progress)
    parts = _parts_of_two(progress)
    blend, without_interest = (
        fit_blend(
            found.features[:, columns],
            found.taught.clicked,
            found.taught.offsets,
            found.taught.user,
            weight_N=found.weights,
            share=share,
            names=_NAMES[columns].tolist(),
            seed=settings.training.seed,
            on_part=parts,
        )
        for columns in _COLUMNS
    )
    progress.stage(f"Calibration: learning from {len(found.calibrating):,} impressions")
    return blend, without_interest, _calibrated(blend, text, neighbours, log, items, found.calibrating)


def _share(found: Lesson, settings: Settings, progress: Stages) -> float:
    """What the networks count for in the blend, as `blend.kind` says or, where it does not, as users held out do."""
    if "kind" in settings.blend.model_fields_set:
        return NETWORKS[settings.blend.kind]
    taught = found.taught
    chosen = choose_share(
        found.features,
        taught.clicked,
        taught.offsets,
        taught.user,
        found.weights,
        names=FEATURES,
        seed=settings.training.seed,
    )
    ndcg = chosen.ndcg_S[SHARES.index(chosen.share)]
    reason = "too few impressions to tell" if np.isnan(ndcg) else f"nDCG@10 {ndcg:.3f} for users held out"
    progress.stage(f"Networks count for {chosen.share:.0%} of the blend, trees for the rest: {reason} (blend.kind)")
    return chosen.share


def continue_ranker(
    champion: Bundle,
    log: Log,
    items: Items,
    bounds: Sequence[datetime],
    settings: Settings,
    progress: Stages = SILENT,
) -> tuple[Blend, Blend, Calibrator]:
    """As `fit_ranker`, from the champion's, by windows since its cutoff; `items` are its own vectors."""
    text, neighbours = champion.text, champion.neighbours
    most = max(_FEWEST, room(log, bounds, settings) // _WARM)
    found = lesson(text, neighbours, log, items, bounds, settings, most, progress)
    parts = _parts_of_two(progress)
    blend, without_interest = (
        continue_blend(
            former,
            found.features[:, columns],
            found.taught.clicked,
            found.taught.offsets,
            weight_N=found.weights,
            seed=settings.training.seed,
            on_part=parts,
        )
        for former, columns in zip((champion.blend, champion.without_interest), _COLUMNS, strict=True)
    )
    progress.stage(f"Calibration: learning from {len(found.calibrating):,} impressions")
    return blend, without_interest, _calibrated(blend, text, neighbours, log, items, found.calibrating)


def lesson(
    text: TextModel,
    neighbours: Neighbours,
    log: Log,
    items: Items,
    bounds: Sequence[datetime],
    settings: Settings,
    most: int,
    progress: Stages = SILENT,
) -> Lesson:
    """At most `most` impressions to teach and as many to calibrate, of windows that text and neighbours have not seen.

    Features are computed in whole pools, as when they are served; only then are rows left out for the blend. Raises
    ContractError where no click of these windows is in its pool, or a single user has clicked.
    """
    seed = settings.training.seed
    impressions = newest_impressions(log, bounds, settings, _CALIBRATION_TIMES * most)
    if not len(impressions):
        raise ContractError(
            "no click of the newest training windows is in its candidate pool; check [candidates] and known_at of items"
        )
    draw = np.random.default_rng(seed)
    # Drawn, not cut: users are sorted by id, and ids often tell who came first.
    calibrates_U = draw.integers(0, _CALIBRATION_SHARE, len(log.user_ids)) == 0
    calibrates_N = calibrates_U[impressions.user]
    if calibrates_N.all() or not calibrates_N.any():
        users = np.unique(impressions.user)
        if len(users) < FEWEST_USERS:
            raise ContractError(
                f"the newest training windows have clicks of {len(users)} users: too few to teach the blend by some "
                "and to calibrate it by others; extract windows with more users"
            )
        calibrates_N = impressions.user == draw.choice(users)  # of a handful, one
    others_N = np.flatnonzero(~calibrates_N)
    teaching = take(impressions, np.sort(draw.choice(others_N, min(most, len(others_N)), replace=False)))
    served = publications(list(itertools.pairwise(bounds)), settings.schedule.refresh)
    published, _ = useful(log, as_published(teaching, served))
    parts = [teaching, published] if settings.evaluation.at == "click" else [published]
    parts = [part for part in parts if len(part)]

    progress.stage(f"Features: {sum(len(part.item) for part in parts):,} pairs of {len(teaching):,} impressions")
    found, done, total = [], 0, sum(len(part) for part in parts)
    for part in parts:
        on_progress = part_of(progress, done, total)
        found.append(_thinned(text, neighbours, log, items, part, settings, len(parts), on_progress))
        done += len(part)
    calibrating, _ = useful(log, as_published(take(impressions, np.flatnonzero(calibrates_N)), served))
    features_PF, taught = np.concatenate([part_PF for part_PF, _ in found]), joined([few for _, few in found])
    return Lesson(features=features_PF, taught=taught, weights=_weights(features_PF, taught), calibrating=calibrating)


def _weights(features_PF: Floats, taught: Impressions) -> Floats:
    """float32[N]: _COLD_START for a user without a click and for a clicked item without one, 1 for the others."""
    no_clicks_P = features_PF[:, FEATURES.index("clicks_total")] == 0
    no_history_P = features_PF[:, FEATURES.index("user_clicks")] == 0
    cold_P = taught.clicked & (no_clicks_P | no_history_P)
    cold_N = np.bincount(taught.row[cold_P], minlength=len(taught)) > 0
    return np.where(cold_N, _COLD_START, 1).astype(np.float32)


def _thinned(
    text: TextModel,
    neighbours: Neighbours,
    log: Log,
    items: Items,
    whole: Impressions,
    settings: Settings,
    parts: int,
    on_progress: OnProgress,
) -> tuple[Floats, Impressions]:
    """The impressions with some of the candidates beside their clicks, and the features that these have in whole pools.

    parts: how many such sets share the rows that the blend learns from.
    """
    # As many others beside each click, where several of an impression were clicked.
    clicks = float(np.sum(whole.clicked)) / len(whole)
    most = max(1, ROWS // parts // len(whole))
    few = with_negatives(whole, min(round(settings.training.blend_candidates * clicks), most), settings.training.seed)
    catalogue = len(log.item_ids)
    # Candidates ascend in each impression, so that a pair has one place among all.
    kept_P = np.searchsorted(whole.row * catalogue + whole.item, few.row * catalogue + few.item)

    def work(part: Impressions) -> Floats:
        return features(text, neighbours, log, items, part)[1]

    few_PF = np.empty((len(kept_P), len(FEATURES)), np.float32)
    begin = 0
    for features_PF in in_parts(work, text, log, whole, on_progress):
        low, high = np.searchsorted(kept_P, [begin, begin + len(features_PF)])
        few_PF[low:high] = features_PF[kept_P[low:high] - begin]
        begin += len(features_PF)
    return few_PF, few


def _parts_of_two(progress: Stages) -> Callable[[int], None]:
    """Shows each ranker that is fitted, of those of two blends; takes how many one blend has."""
    progress.stage("Rankers: trees and networks, with and without the interest")
    done = itertools.count(1)
    return lambda each: progress.advance(next(done), 2 * each)


def _calibrated(
    blend: Blend, text: TextModel, neighbours: Neighbours, log: Log, items: Items, calibrating: Impressions
) -> Calibrator:
    raw_P = raw_scores(blend, text, neighbours, log, items, calibrating)
    return fit_calibrator(raw_P, calibrating.clicked, calibrating.offsets)
