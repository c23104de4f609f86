"""From a champion and newer clicks to its successor, in a fraction of the time of a whole training.

Time goes only forward: the blend and the calibration go on with what the champion said of the windows since its
cutoff, of which it has seen nothing. Only then does its network learn from them, and the wide path and the neighbours,
which are closed forms and cheap, are fitted to all clicks before the new cutoff.
"""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from datetime import datetime

import numpy as np

from recsys_text.bundle import Bundle
from recsys_text.config import Settings
from recsys_text.errors import ConfigError, ContractError
from recsys_text.fitting.ranker import NETWORKS, continue_ranker
from recsys_text.fitting.text import clicks_between, own_clicks
from recsys_text.fitting.whole import assembled
from recsys_text.model.collaborative import clicked_once
from recsys_text.model.data import Rows, TrainSet, libraries
from recsys_text.model.resume import grown, resume
from recsys_text.model.text_model import TextModel, tokens_of
from recsys_text.progress import EpochResult, Stages
from recsys_text.ranking.log import Log, micros


@dataclass(frozen=True, kw_only=True)
class Continued:
    """A successor, what its network learned, and the share of the network's weights that were trained."""

    bundle: Bundle
    results: list[EpochResult]
    trainable: float


def continue_bundle(
    champion: Bundle,
    log: Log,
    texts: Sequence[str],
    starts: Sequence[datetime],
    *,
    cutoff: datetime,
    settings: Settings,
    progress: Stages,
) -> Continued:
    """Trains the champion on with what came since its cutoff, in a log that ends strictly before the new one.

    `starts` are the starts of the training windows, oldest first; one text per item of the log. The champion stays as
    it is, and its plan holds on. Raises ConfigError where it is of another [model] or [blend], ContractError where no
    window is newer than it.
    """
    blend = settings.blend
    other_blend = "kind" in blend.model_fields_set and champion.blend.share != NETWORKS[blend.kind]
    if champion.text.settings != settings.model or other_blend:
        raise ConfigError(
            "[model] or [blend] is not what the champion was trained with, so nothing can start from it; train without "
            "--warm-start, or undo the change"
        )
    newer = [start for start in starts if start >= champion.cutoff]
    if not newer:
        raise ContractError(
            f"the champion's cutoff is {champion.cutoff:%Y-%m-%dT%H:%MZ}, and no window from then on ends by "
            f"{cutoff:%Y-%m-%dT%H:%MZ}: there is nothing new to learn; extract a newer window or give a later --cutoff"
        )
    settings = champion.plan.applied(settings)
    progress.stage(f"Blend: going on with what came since {champion.cutoff:%Y-%m-%dT%H:%MZ}")
    items = champion.text.items(texts, log.item_ids)
    ranker = continue_ranker(champion, log, items, [*newer, cutoff], settings, progress)
    text, results, trainable = _continue_text(champion, log, texts, starts[0], cutoff, settings, progress)
    progress.stage("Wide path and neighbours: all clicks")
    bundle = assembled(text, ranker, log, texts, starts[0], cutoff, settings, champion.plan)
    return Continued(bundle=bundle, results=results, trainable=trainable)


def _continue_text(
    champion: Bundle,
    log: Log,
    texts: Sequence[str],
    first: datetime,
    cutoff: datetime,
    settings: Settings,
    progress: Stages,
) -> tuple[TextModel, list[EpochResult], float]:
    text = champion.text
    encoded = tokens_of(text.tokenizer, texts, text.settings)
    rows = _rows(champion, log, first, cutoff, settings)
    progress.stage(f"Text model: going on with {len(rows):,} rows, older ones among them")
    network = grown(text.network, *encoded, _places(text.item_ids, log.item_ids), _places(text.user_ids, log.user_ids))
    found = resume(network, *encoded, rows, settings.training, progress=progress)
    item_ids = own_clicks(network, *encoded, log, cutoff)
    user_ids = tuple(log.user_ids) if text.user_ids else ()
    return replace(text, network=network, item_ids=item_ids, user_ids=user_ids), found.results, found.trainable


def _rows(champion: Bundle, log: Log, first: datetime, cutoff: datetime, settings: Settings) -> Rows:
    """The clicks since the champion's cutoff, and of those before a sample that is the share `replay` of all."""
    training, share = settings.training, settings.training.replay / (1 - settings.training.replay)
    if training.task == "hidden":
        return _libraries(champion, log, cutoff, settings, share)
    new = clicks_between(log, champion.cutoff, cutoff, settings, training.max_clicks)
    old = clicks_between(log, first, champion.cutoff, settings, round(len(new) * share))
    return _joined(old, new)


def _libraries(champion: Bundle, log: Log, cutoff: datetime, settings: Settings, share: float) -> Rows:
    """The whole libraries of the users who clicked since the champion's cutoff, and of a sample of the others."""
    training = settings.training
    before = log.positive & (log.time < micros(cutoff))
    clicks_UI = clicked_once(log.user[before], log.item[before], (len(log.user_ids), len(log.item_ids)))
    active = np.unique(log.user[before & (log.time >= micros(champion.cutoff))])
    others = np.setdiff1d(np.flatnonzero(np.diff(clicks_UI.indptr) > 1), active)
    count = min(len(others), round(len(active) * share))
    drawn = np.random.default_rng(training.seed).choice(others, count, replace=False)
    chosen_U = np.isin(np.arange(len(log.user_ids)), np.concatenate([active, drawn]))
    kept = before & chosen_U[log.user]
    kept_UI = clicked_once(log.user[kept], log.item[kept], clicks_UI.shape)
    known_I = log.known_at < micros(cutoff)
    return libraries(kept_UI, known_I, training.hidden, settings.model.history, training.negatives)


def _joined(old: TrainSet, new: TrainSet) -> TrainSet:
    """Older rows first; those with fewer candidates are padded."""
    width = max(part.candidates_NC.shape[1] for part in (old, new))
    candidates = [
        np.pad(part.candidates_NC, [(0, 0), (0, width - part.candidates_NC.shape[1])], constant_values=-1)
        for part in (old, new)
    ]
    return replace(
        new,
        history_NH=np.concatenate([old.history_NH, new.history_NH]),
        candidates_NC=np.concatenate(candidates),
        user_N=None if old.user_N is None or new.user_N is None else np.concatenate([old.user_N, new.user_N]),
    )


def _places(known: Sequence[str], ids: Sequence[str]) -> np.ndarray[tuple[int], np.dtype[np.int64]]:
    """Where each id stands among the known ones, -1 for those that do not."""
    place = {name: row for row, name in enumerate(known)}
    return np.array([place.get(name, -1) for name in ids], np.int64)
