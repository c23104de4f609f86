"""The text model of a bundle from the clicks before a moment. Knows no blend, no paths and no MLflow."""

from collections.abc import Sequence
from dataclasses import replace
from datetime import datetime

import numpy as np
from numpy.typing import NDArray

from recsys_text.config import Settings
from recsys_text.model.checkpoint import Checkpoint
from recsys_text.model.collaborative import clicked_once
from recsys_text.model.data import Rows, TrainSet, libraries, train_set
from recsys_text.model.fit import fit
from recsys_text.model.pretrain import Teacher, teacher_of
from recsys_text.model.scorer import Interest, build, item_vectors
from recsys_text.model.text_model import ALONE, PRIOR, Floats, Items, TextModel, clicks_read, tokens_of
from recsys_text.model.wide import Wide, fit_wide
from recsys_text.progress import EpochResult, Stages
from recsys_text.ranking.candidates import histories
from recsys_text.ranking.log import Log, micros
from recsys_text.ranking.logged import teaching_impressions
from recsys_text.text.tokenizer import train_tokenizer

#: Clicks that early stopping looks at: more of them cost time and move nothing; with fewer it is chance what its parts
#: weigh, but no more than this share of all are taken from what teaches.
_VALIDATION, _FEWEST_VALIDATION, _VALIDATION_SHARE = 2000, 500, 0.2


def merged_to_stop(log: Log, starts: Sequence[datetime], end: datetime) -> Sequence[datetime]:
    """Merge the newest of the windows that begin at `starts`, so that the last one has clicks enough to stop by."""
    sizes_W = np.histogram(log.time[log.positive], [micros(start) for start in (*starts, end)])[0]
    since_W = np.cumsum(sizes_W[::-1])[::-1]
    enough = min(_FEWEST_VALIDATION, _VALIDATION_SHARE * since_W[0])
    return starts[: max(1, int(np.flatnonzero(since_W >= enough)[-1])) + 1]


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
) -> tuple[TextModel, Items, list[EpochResult]]:
    """Trains the text model on the clicks before `end`; the newest of the windows that begin at `starts` stop it.

    Returns the model, its vectors of all items, and what each epoch reached. How many windows stop it: see
    `merged_to_stop`.

    wide: the wide path of a model that was trained on the same, where there is one: it depends on no network.
    """
    starts = merged_to_stop(log, starts, end)
    training, model, stop_start = settings.training, settings.model, starts[-1]
    known_I = log.known_at < micros(end)
    progress.stage(f"Tokenizer: learning from {int(known_I.sum()):,} texts")
    tokenizer = train_tokenizer([text for text, known in zip(texts, known_I, strict=True) if known], model.vocabulary)
    encoded = tokens_of(tokenizer, texts, model)
    train = clicks_between(log, starts[0], stop_start, settings, training.max_clicks)
    valid = clicks_between(log, stop_start, end, settings, _VALIDATION, clicks_read(model))
    newest = replace(valid, history_NH=valid.history_NH[:, -model.history :])
    if wide is None:
        progress.stage(f"Text regression: learning from {int(known_I.sum()):,} texts")
        wide = fit_wide_path(log, texts, train, stop_start, settings)
    vectors = wide.items(texts, log.item_ids)
    teacher = _teacher(wide, vectors, settings)
    before = log.positive & (log.time < micros(stop_start))
    rows = rows_of(log, train, before, known_I, settings)
    progress.stage(f"Text model: learning from {len(rows):,} rows before {stop_start:%Y-%m-%dT%H:%MZ}")
    network = build(model, tokenizer.vocabulary, training.seed, len(texts), len(log.user_ids))
    results = fit(network, *encoded, teacher, rows, newest, known_I, training, checkpoint=checkpoint, progress=progress)
    item_ids = own_clicks(network, *encoded, log, stop_start)
    text = TextModel(tokenizer=tokenizer, network=network, wide=wide, weights=ALONE, item_ids=item_ids)
    if model.long_term:
        text = replace(text, user_ids=tuple(log.user_ids))
    items = text.items(texts, log.item_ids, vectors)
    if model.wide:
        if training.task == "hidden":
            text = text.weighed_for_masked_items(items, valid)
        else:
            text = text.weighed(items, valid, ~np.isin(valid.candidates_NC[:, 0], log.item[before]))
    return text, items, results


def rows_of(
    log: Log, clicks: TrainSet, before: NDArray[np.bool_], known_I: NDArray[np.bool_], settings: Settings
) -> Rows:
    """What the network learns from: the clicks, or the libraries of the events `before`, as `training.task` says."""
    training = settings.training
    if training.task == "next":
        return clicks
    clicks_UI = clicked_once(log.user[before], log.item[before], (len(log.user_ids), len(log.item_ids)))
    return libraries(clicks_UI, known_I, training.hidden, settings.model.history, training.negatives)


def own_clicks(
    network: Interest, tokens_IT: NDArray[np.int32], lengths_I: NDArray[np.int32], log: Log, end: datetime
) -> tuple[str, ...]:
    """The items clicked before `end`, which keep vectors of their own as clicks where the network has such."""
    if network.table is None:
        return ()
    clicked = np.unique(log.item[log.positive & (log.time < micros(end))]).astype(np.int64)
    network.translate(item_vectors(network, tokens_IT[clicked], lengths_I[clicked]), clicked)
    return tuple(log.item_ids[item] for item in clicked)


def _teacher(wide: Wide, vectors: tuple[Floats, Floats], settings: Settings) -> Teacher:
    """Match and collaborative side by side, as they weigh before anything is known of a log."""
    match, place, _ = wide.width
    candidate_IW, click_IW = (vec_IW[:, : match + place].copy() for vec_IW in vectors)
    for weight, columns in zip(PRIOR[1:3], np.split(np.arange(match + place), [match]), strict=True):
        candidate_IW[:, columns] *= weight
        # Users are of length 1 in each part.
        click_IW[:, columns] /= np.sqrt(np.mean(np.sum(click_IW[:, columns] ** 2, axis=1))) or 1
    return teacher_of(candidate_IW, click_IW, settings.model.dim, settings.training.seed)


def clicks_between(
    log: Log, start: datetime, end: datetime, settings: Settings, most: int, history: int | None = None
) -> TrainSet:
    """At most so many of the clicks in [start, end), each with the last `history` clicks of its user, by default as
    many as the network reads.
    """
    training = settings.training
    few = teaching_impressions(
        log, start, end, settings.candidates, max_impressions=most, seed=training.seed, negatives=training.negatives
    )
    history_NH = histories(log, few.user, few.time, history or settings.model.history)
    learned = settings.model.clicks == "learned"
    users_N = few.user if settings.model.long_term else None
    return train_set(history_NH, few.offsets, few.item, few.clicked, learned, users_N)


def fit_wide_path(log: Log, texts: Sequence[str], rows: TrainSet, end: datetime, settings: Settings) -> Wide:
    """The wide path from all clicks before `end`; `rows` tell how often items were candidates."""
    before, size = log.positive & (log.time < micros(end)), (len(log.user_ids), len(log.item_ids))
    clicks_UI = clicked_once(log.user[before], log.item[before], size)
    others = rows.candidates_NC[:, 1:]
    shown_I = np.bincount(others[others >= 0], minlength=size[1]) * (clicks_UI.nnz / max(1, int(np.sum(others >= 0))))
    known_I = log.known_at < micros(end)
    return fit_wide(
        texts,
        log.item_ids,
        clicks_UI,
        shown_I,
        known_I,
        log.neutral,
        settings.model,
        settings.training.seed,
        settings.training.regression_items,
    )
