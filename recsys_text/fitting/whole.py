"""From a log and its texts to a bundle: text model, then blend, then calibration. Knows no paths and no MLflow.

Time goes only forward: the text model learns from the clicks of the older training windows and stops early on
the newest of them; the blend learns from the windows after those, and the calibrator from users of them that the
blend has not seen. All of it lies before the cutoff, so that the test windows are untouched.
"""

from collections.abc import Sequence
from dataclasses import replace
from datetime import datetime

from recsys_text.bundle import Bundle
from recsys_text.config import Settings
from recsys_text.errors import ContractError
from recsys_text.fitting.ranker import blend_windows, fit_neighbours, fit_ranker
from recsys_text.fitting.text import clicks_between, fit_text, fit_wide_path
from recsys_text.model.checkpoint import Checkpoint
from recsys_text.model.text_model import TextModel
from recsys_text.progress import EpochResult, Stages
from recsys_text.ranking.blend import Blend
from recsys_text.ranking.calibrate import Calibrator
from recsys_text.ranking.log import Log


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
    blend, without_interest, calibrator = fit_ranker(
        text, log, items, [*starts[first_of_blend:], cutoff], settings, progress
    )
    progress.stage("Text regression: all clicks, also the newest")
    # Only now may the wide path and the neighbours see the newest clicks: the blend has learned from what they said
    # without them.
    bundle = assembled(text, (blend, without_interest, calibrator), log, texts, starts[0], cutoff, settings)
    return bundle, results


def assembled(
    text: TextModel,
    ranker: tuple[Blend, Blend, Calibrator],
    log: Log,
    texts: Sequence[str],
    first: datetime,
    cutoff: datetime,
    settings: Settings,
) -> Bundle:
    """The bundle of a text model and a ranker, whose wide path and neighbours are fitted to all clicks from `first` on.

    ranker: blend, the one without the interest, and the calibrator, all fitted already: they must not see these.
    """
    blend, without_interest, calibrator = ranker
    everything = clicks_between(log, first, cutoff, settings, settings.training.max_clicks)
    return Bundle(
        text=replace(text, wide=fit_wide_path(log, texts, everything, cutoff, settings)),
        neighbours=fit_neighbours(log, cutoff),
        blend=blend,
        without_interest=without_interest,
        calibrator=calibrator,
        candidates=settings.candidates,
        at=settings.evaluation.at,
        cutoff=cutoff,
    )
