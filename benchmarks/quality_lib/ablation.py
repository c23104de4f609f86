"""What the convolutions and the RNN add to the bag of embeddings, all else alike, and the network of all of them to the
text regression, on each data set.

The text model alone is trained, on all that lies before the test; the last window before it stops the training.
"""

from collections.abc import Callable, Mapping
from datetime import UTC, datetime
from functools import cache as once
from pathlib import Path
from typing import Any

from benchmarks import logs
from benchmarks.logs import DAY, END, Data
from benchmarks.quality_lib import cache, caixin, cold, goodbooks, training
from benchmarks.quality_lib.training import OURS, TEXT, Run, seeded, settings_of
from benchmarks.quality_lib.values import Row, Values, averaged, measured, rows
from recsys_text.model.text_model import ALONE, TextModel
from recsys_text.ranking.log import Impressions
from recsys_text.ranking.logged import evaluated_impressions

#: What changes of the settings of a model; the first is compared with each of the others.
SHAPES: dict[str, dict[str, Any]] = {
    "bag + CNN-RNN": {},
    "bag": {"kernel_sizes": (), "rnn": "none"},
    "bag + CNN": {"rnn": "none"},
    "bag + RNN": {"kernel_sizes": ()},
}
#: Folder below zoo, start of the test windows, and their number.
ZOO = {
    "retail": ("online_retail", datetime(2011, 12, 5, tzinfo=UTC), 5),
    "quantum": ("stackexchange_quantum", datetime(2018, 6, 2, tzinfo=UTC), 91),
}
MOST = 4000
#: The parts of the text model without its network.
_WIDE = "text regression"
_OURS = (
    *OURS,
    "quality_lib/ablation.py",
    "quality_lib/caixin.py",
    "quality_lib/goodbooks.py",
    "quality_lib/cold.py",
    "quality_lib/values.py",
)


def of_zoo(run: Run, name: str) -> list[Row]:
    """A log of the zoo: what is ranked in its test windows, with what it decides for itself before them."""
    folder, start, days = ZOO[name]
    log = once(lambda: logs.zoo(run.data / "zoo" / folder))
    taught = once(lambda: log().before(start))

    def shown() -> Impressions:
        settings = training.decided(settings_of(name), taught(), taught().starts(start))
        spans = [(start + number * DAY, start + (number + 1) * DAY) for number in range(days)]
        return evaluated_impressions(
            log().log, spans, settings.candidates, at=settings.evaluation.at, max_impressions=MOST, seed=7
        )[0]

    digests = cache.files(*(run.data / "zoo" / folder / f"{table}.parquet" for table in ("items", "events")))
    return _compared(run, name, "test windows", digests, (taught, start), (log, once(shown)), ("auc", "ndcg@10"))


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
                if shape == next(iter(SHAPES)):
                    weights[_WIDE] = (0.0, *text.weights[1:])
                measured(shown, cold.interests(text, data, shown, weights), metrics).save(folder)

            depends = {"text": trained.name, "shape": shape, "code": cache.code((*TEXT, "evaluation"), _OURS), **which}
            runs.append(Values.load(run.cache.step(f"{name}-ablation-score", depends, work)))
    found, seeds = averaged(runs)
    first, *others = SHAPES
    pairs = [(f"{first}, {part}", f"{other}, {part}") for part in ("network alone", "interest") for other in others]
    pairs += [(f"{first}, {part}", _WIDE) for part in ("network alone", "interest")]
    return rows(name, f"ablation, {protocol}", found, runs[0].users, seeds, differences=pairs)
