"""From a log and its texts to a bundle: text model, then blend, then calibration. Knows no paths and no MLflow.

Time goes only forward: the text model learns from the clicks of the older training windows and stops early on
the newest of them; the blend learns from the windows after those, and the calibrator from users of them that the
blend has not seen. All of it lies before the cutoff, so that the test windows are untouched.
"""

from collections.abc import Callable, Sequence
from dataclasses import replace
from datetime import datetime
from functools import partial
from time import perf_counter

from recsys_text.bundle import Bundle
from recsys_text.config import Settings
from recsys_text.errors import ContractError
from recsys_text.fitting.ranker import blend_windows, fit_neighbours, fit_ranker
from recsys_text.fitting.sizing import Sized, size_ranker, size_text
from recsys_text.fitting.text import clicks_between, fit_text, fit_wide_path
from recsys_text.model.checkpoint import Checkpoint
from recsys_text.model.text_model import Items, TextModel
from recsys_text.plan import Plan
from recsys_text.progress import EpochResult, Stages
from recsys_text.ranking.blend import Blend
from recsys_text.ranking.calibrate import Calibrator
from recsys_text.ranking.log import Log

#: The parts of a plan, each made when what it is about begins: the text model's, then all of it.
_TEXT, _WHOLE = "text", "whole"


def fit_bundle(
    log: Log,
    texts: Sequence[str],
    starts: Sequence[datetime],
    *,
    cutoff: datetime,
    settings: Settings,
    checkpoint: Checkpoint,
    progress: Stages,
    plan: Plan | None = None,
) -> tuple[Bundle, list[EpochResult]]:
    """Trains everything on a log that ends strictly before `cutoff`; one text per item of the log.

    `starts` are the starts of the training windows, oldest first. plan: the sizes of a former training, which give its
    weights again; without it sizes are made to fit `training.budget` on this machine, or are those that the training
    which the checkpoint is of began with. Raises ContractError when there are fewer than three windows, or when none of
    their clicks is in its candidate pool.
    """
    begun = perf_counter()
    if len(starts) < 3:
        raise ContractError(
            f"training needs three windows before {cutoff:%Y-%m-%dT%H:%MZ}, and the lake has {len(starts)}; "
            "extract older windows or give a later --cutoff"
        )
    first_of_blend = len(starts) - blend_windows(log, [*starts, cutoff], settings)
    older, newer = starts[:first_of_blend], [*starts[first_of_blend:], cutoff]

    def sized_text() -> Sized:
        return size_text(log, texts, older, newer[0], settings)

    sizes = plan or _begun(_TEXT, checkpoint, sized_text, progress)
    text, items, results = fit_text(
        log, texts, older, end=newer[0], settings=sizes.applied(settings), checkpoint=checkpoint, progress=progress
    )

    def sized_ranker(items: Items) -> Sized:
        return size_ranker(sizes, text, log, items, newer, settings, perf_counter() - begun)

    plan = plan or _begun(_WHOLE, checkpoint, partial(sized_ranker, items), progress)
    chosen = plan.applied(settings)
    progress.stage(f"Blend: learning from what came since {newer[0]:%Y-%m-%dT%H:%MZ}")
    ranker = fit_ranker(text, log, items, newer, chosen, progress)
    del items  # as large as what the text regression is about to make
    progress.stage("Text regression: all clicks, also the newest")
    # Only now may the wide path and the neighbours see the newest clicks: the blend has learned from what they said
    # without them.
    return assembled(text, ranker, log, texts, starts[0], cutoff, chosen, plan), results


def _begun(part: str, checkpoint: Checkpoint, size: Callable[[], Sized], progress: Stages) -> Plan:
    """The plan that the training of this checkpoint began a part with, or that is made, told and kept now."""
    kept = checkpoint.begun() or {}
    if part not in kept:
        sized = size()
        checkpoint.begin(kept | {part: sized.plan.model_dump()})
        progress.stage(sized.line)
        return sized.plan
    return Plan.model_validate(kept[part])


def assembled(
    text: TextModel,
    ranker: tuple[Blend, Blend, Calibrator],
    log: Log,
    texts: Sequence[str],
    first: datetime,
    cutoff: datetime,
    settings: Settings,
    plan: Plan,
) -> Bundle:
    """The bundle of a text model and a ranker, whose wide path and neighbours are fitted to all clicks from `first` on.

    settings: with the sizes of the plan. ranker: blend, the one without the interest, and the calibrator, all fitted
    already: they must not see these.
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
        plan=plan,
    )
