"""What the convolutions and the RNN add to the bag of embeddings, all else alike, on each data set.

The text model alone is trained, on all that lies before the test; the last window before it stops the training.
"""

from collections.abc import Callable, Mapping
from datetime import datetime
from functools import cache as once
from pathlib import Path
from typing import Any

from benchmarks.logs import END, Data
from benchmarks.quality_lib import cache, caixin, cold, goodbooks, training
from benchmarks.quality_lib.training import OURS, TEXT, Run, seeded, settings_of
from benchmarks.quality_lib.values import Row, Values, averaged, measured, rows
from recsys_text.model.text_model import ALONE, TextModel
from recsys_text.ranking.log import Impressions

#: What changes of the settings of a model; the first is compared with each of the others.
SHAPES: dict[str, dict[str, Any]] = {
    "bag + CNN-RNN": {},
    "bag": {"kernel_sizes": (), "rnn": "none"},
    "bag + CNN": {"rnn": "none"},
    "bag + RNN": {"kernel_sizes": ()},
}
_OURS = (
    *OURS,
    "quality_lib/ablation.py",
    "quality_lib/caixin.py",
    "quality_lib/goodbooks.py",
    "quality_lib/cold.py",
    "quality_lib/values.py",
)


def dev_cases(run: Run) -> list[Row]:
    """Caixin's fixed cases."""
    cutoff = run.cutoff or caixin.CUTOFF
    log = caixin.data(run)
    shown = once(lambda: caixin.cases(run, log(), cutoff))
    digests = caixin.files(run) | cache.files(run.cases)
    taught = once(lambda: log().before(cutoff))
    return _compared(run, caixin.NAME, "dev cases", digests, (taught, cutoff), (log, shown), ("auc", "ndcg@10"))


def all_books(run: Run) -> list[Row]:
    """Goodbooks, all items."""
    log = goodbooks.data(run)
    taught = once(lambda: log().before(goodbooks.CUTOFF))
    shown = once(lambda: goodbooks.last_ten(log()))
    return _compared(
        run,
        goodbooks.NAME,
        "all items",
        goodbooks.files(run),
        (taught, goodbooks.CUTOFF),
        (log, shown),
        goodbooks.METRICS,
    )


def cold_items(run: Run, name: str) -> list[Row]:
    """Goodbooks or citeulike, cold items."""
    data = cold.split(run, name)
    which = {"modulus": run.modulus, "residue": run.residue}
    return _compared(
        run,
        name,
        cold.protocol(run),
        cold.files(run, name),
        (lambda: data().warm, END),
        (lambda: data().whole, lambda: data().impressions),
        cold.METRICS,
        which,
    )


def _compared(
    run: Run,
    name: str,
    protocol: str,
    digests: Mapping[str, str],
    taught: tuple[Callable[[], Data], datetime],
    measured_on: tuple[Callable[[], Data], Callable[[], Impressions]],
    metrics: tuple[str, ...],
    which: Mapping[str, Any] | None = None,
) -> list[Row]:
    """Rows of every shape and of its difference from the first. taught: data and their end."""
    which = dict(which or {})
    runs = []
    like = None  # one wide path for all: it depends on no network, and next to nothing of it on a seed
    for seed in run.seeds:
        for shape, changed in SHAPES.items():
            settings = seeded(settings_of(name), seed, changed)
            trained = training.text_model(run, f"{name}-ablation", digests, *taught, settings, like, **which)
            like = like or trained

            def work(folder: Path, trained: Path = trained, shape: str = shape) -> None:
                text = TextModel.load(trained / "text")
                data, shown = (get() for get in measured_on)
                weights = {f"{shape}, network alone": ALONE, f"{shape}, interest": text.weights}
                measured(shown, cold.interests(text, data, shown, weights), metrics).save(folder)

            depends = {"text": trained.name, "shape": shape, "code": cache.code((*TEXT, "evaluation"), _OURS), **which}
            runs.append(Values.load(run.cache.step(f"{name}-ablation-score", depends, work)))
    found, seeds = averaged(runs)
    first, *others = SHAPES
    pairs = [(f"{first}, {part}", f"{other}, {part}") for part in ("network alone", "interest") for other in others]
    return rows(name, f"ablation, {protocol}", found, runs[0].users, seeds, differences=pairs)
