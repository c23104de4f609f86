"""Sizes the stages of a training to its budget, by timing pieces of the real work on this machine. Knows no paths.

What is decided is a `Plan`; what it will take is an estimate, which is said and not kept. No test window is looked at:
all that is timed comes before the cutoff.
"""

import os
from collections.abc import Sequence
from dataclasses import dataclass, replace
from datetime import datetime
from math import ceil
from time import perf_counter

import numpy as np
import torch
from numpy.typing import NDArray
from scipy.sparse import csr_matrix
from threadpoolctl import threadpool_limits

from recsys_text.bundle import Floats, features, in_parts
from recsys_text.config import Settings
from recsys_text.fitting.ranker import NETWORKS, ROWS, newest_impressions, room
from recsys_text.fitting.text import clicks_between, merged_to_stop, rows_of
from recsys_text.model.fit import one_epoch
from recsys_text.model.optimise import adamw, deterministic, resolve_device
from recsys_text.model.pretrain import Teacher, pretrain
from recsys_text.model.scorer import build
from recsys_text.model.text_model import Items, TextModel, tokens_of
from recsys_text.plan import Plan
from recsys_text.progress import SILENT
from recsys_text.ranking.blend import fit_blend
from recsys_text.ranking.candidates import pool_sizes, with_negatives
from recsys_text.ranking.features import FEATURES
from recsys_text.ranking.log import Impressions, Log, micros
from recsys_text.ranking.logged import take
from recsys_text.ranking.neighbours import KINDS, Neighbours
from recsys_text.sections import Training
from recsys_text.text.tokenizer import train_tokenizer
from recsys_text.threads import processors
from recsys_text.torch_threads import one_thread

#: Of the budget: what the text regressions may take, and the text model with them; of the rest what the blend may. The
#: blend has most: a shop's had .326 where it learned from 334 impressions, and .338 from 3,000.
_REGRESSION_SHARE, _TEXT_SHARE, _BLEND_SHARE = 0.15, 0.3, 0.6
#: Candidates that the impressions of a blend have before fewer of them teach it.
_FEW_CANDIDATES = 60
#: Of the machine's memory, what the kernel of the text regression may take.
_KERNEL_SHARE = 0.125
#: Of what is left for it, what a stage is sized to: no estimate is exact.
_MARGIN, _RANKER_MARGIN = 0.8, 0.7
#: What comes after the blend, by the time until then: text regression and neighbours are fitted once more, and the
#: windows that measure are read. On four logs of different kinds it was .29 to .43.
_AGAIN = 0.35
#: Speeds that every machine has: what fits the budget with them is not timed. Operations, rows of clicks, texts
#: and pairs of impression and candidate, a second.
_SLOWEST_PRODUCTS, _SLOWEST_ROWS, _SLOWEST_TEXTS, _SLOWEST_PAIRS = 5e9, 200.0, 200.0, 10_000.0
#: What is timed: so often, as long as it does not take so many seconds, a product of matrices of so many rows, a batch
#: from the clicks of so many, so many texts, so many pairs of at least so many impressions, and a blend of so many of
#: them an impression.
_TIMES, _ENOUGH_S, _KERNEL, _BATCHES, _TEXTS, _PAIRS, _IMPRESSIONS, _BLENDED = 3, 3.0, 1536, 3, 256, 250_000, 8, 600
#: What a factorisation does in the time of such a product.
_SOLVING = 0.5
#: Rows without which there is little to learn, whatever the budget.
_FEWEST_ROWS, _FEWEST_ITEMS, _FEWEST_IMPRESSIONS, _FEWEST_CANDIDATES = 2000, 1000, 200, 10
#: The rank of the match that is kept whatever it takes, and what the match's part of the vectors of all items and users
#: may have in numbers: so many are published again with each version.
_FEWEST_MATCH, _MATCH_NUMBERS = 512, 50_000_000
#: Pairs that are measured at most: each method has a score of each of them.
_MEASURED_PAIRS = 10_000_000
#: What the fits of the blend take, by those of one: the other is without the interest, and a few tell how much the
#: networks count for.
_FITS = 2.3
#: A calibration takes as many impressions again as 4 of 10 that teach; a measurement asks the baselines too, and scores
#: up to so many pairs at several ages.
_CALIBRATING, _BASELINES, _AGES, _AGED_PAIRS = 0.4, 1.5, 4, 500_000
#: What a further thread adds.
_THREAD = 0.3


@dataclass(frozen=True, kw_only=True)
class Sized:
    """A plan, and what is said of it: the sizes that matter to a reader, and how long they take, about."""

    plan: Plan
    line: str


def size_text(log: Log, texts: Sequence[str], starts: Sequence[datetime], end: datetime, settings: Settings) -> Sized:
    """The sizes of text regression and text model, the rest as large as the settings let it be.

    starts: of the windows that teach the text model; the last of them stops it (see `merged_to_stop`). end: where they
    end.
    """
    starts = merged_to_stop(log, starts, end)
    plan, budget = Plan.undecided(settings), settings.training.budget.total_seconds()
    chosen = plan.applied(settings)
    known_I = log.known_at < micros(end)
    before = log.positive & (log.time < micros(starts[-1]))
    taught, known = len(np.unique(log.item[before])), int(known_I.sum())
    rows = int(np.sum(before & (log.time >= micros(starts[0]))))
    if chosen.training.task == "hidden":
        rows = int(np.sum(np.bincount(log.user[before]) > 1))
    fitting = int((_KERNEL_SHARE * os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") / 4) ** 0.5)
    match = max(_FEWEST_MATCH, _MATCH_NUMBERS // max(1, len(texts) + len(log.user_ids)))
    plan = plan.at_most(regression_items=max(_FEWEST_ITEMS, fitting), match=match)
    # What the texts alone teach serves what the clicks teach: few clicks are not worth many passes over a catalogue.
    work = _TextWork(taught=taught, items=len(texts), known=known, rows=rows)
    plan = plan.at_most(pretrain_epochs=ceil(work.rows_of(chosen.training) * chosen.training.epochs / max(1, known)))
    slowest = _TextSpeed(products=_SLOWEST_PRODUCTS, rows=_SLOWEST_ROWS, texts=_SLOWEST_TEXTS)
    if work.seconds(plan.applied(settings), slowest) <= _TEXT_SHARE * budget or plan == Plan():
        return Sized(plan=plan, line=_text_line(plan, work, settings, None))
    speed = _text_speed(log, texts, starts, known_I, plan.applied(settings))

    plan = _cut_text(plan, work, settings, speed)
    return Sized(plan=plan, line=_text_line(plan, work, settings, work.seconds(plan.applied(settings), speed)))


def size_ranker(
    plan: Plan,
    text: TextModel,
    log: Log,
    items: Items,
    bounds: Sequence[datetime],
    settings: Settings,
    taken: float,
) -> Sized:
    """The plan with the sizes of the blend and of the measurement, which fit what is left of the budget.

    bounds: of the windows that the blend learns from. taken: seconds until now.
    """
    left = settings.training.budget.total_seconds() - (1 + _AGAIN) * taken
    chosen = plan.applied(settings)
    pool = max(1, int(pool_sizes(log, np.array([micros(bounds[-1])]), settings.candidates)[0]))
    times = 2 if settings.evaluation.at == "click" else 1
    most = min(room(log, bounds, chosen), _ranked(log, bounds, settings))
    plan = plan.at_most(max_impressions=max(_FEWEST_IMPRESSIONS, _MEASURED_PAIRS // pool))
    chosen = plan.applied(settings)
    work = _RankerWork(pool=pool, clicked=1.0, times=times)
    slowest = _RankerSpeed(pairs=_SLOWEST_PAIRS, ranked=_SLOWEST_PAIRS, rows=_SLOWEST_PAIRS)
    need = work.blend(most, chosen.training.blend_candidates, slowest)
    need += work.measurement(chosen.evaluation.max_impressions, slowest)
    sizes = {"blend_clicks", "blend_candidates", "max_impressions"}
    if need <= left or not plan.model_dump(exclude_none=True, include=sizes):
        return Sized(plan=plan, line=_ranker_line(plan, most, settings, None))
    speed, work = _ranker_speed(text, log, items, bounds, settings, work)
    plan = _cut_ranker(plan, work, most, settings, speed, left)
    chosen = plan.applied(settings)
    seconds = work.blend(min(chosen.training.blend_clicks, most), chosen.training.blend_candidates, speed)
    seconds += work.measurement(chosen.evaluation.max_impressions, speed)
    return Sized(plan=plan, line=_ranker_line(plan, most, settings, seconds))


def _ranked(log: Log, bounds: Sequence[datetime], settings: Settings) -> int:
    """How many impressions there are between these times: clicks, or users in each window."""
    since = log.positive & (log.time >= micros(bounds[0]))
    if settings.evaluation.at == "click":
        return int(since.sum())
    window_E = np.searchsorted([micros(bound) for bound in bounds], log.time[since], side="right")
    return len(np.unique(window_E * len(log.user_ids) + log.user[since]))


def _cut_text(plan: Plan, work: "_TextWork", settings: Settings, speed: "_TextSpeed") -> Plan:
    """The plan with a text regression and a text model that fit their share of the budget, or are the smallest."""
    budget, chosen = settings.training.budget.total_seconds(), plan.applied(settings)

    def regression() -> float:
        return work.regression(plan.applied(settings)) / speed.products

    # The rank gives way first: what it leaves out is less than what is left out with an item.
    for name, fewest in (("match", _FEWEST_MATCH), ("regression_items", _FEWEST_ITEMS)):
        size = getattr(plan, name) or fewest
        while size > fewest and regression() > _REGRESSION_SHARE * budget:
            size = max(fewest, size * 9 // 10)
            plan = plan.at_most(**{name: size})
    left = _MARGIN * (_TEXT_SHARE * budget - regression())
    # A third for the texts at most, and where they need less the clicks have it.
    plan = plan.at_most(pretrain_epochs=max(0, int(left / 3 * speed.texts / max(1, work.known))))
    left -= plan.applied(settings).training.pretrain_epochs * work.known / speed.texts
    steps = max(_FEWEST_ROWS, int(left * speed.rows))
    plan = plan.at_most(epochs=max(1, steps // max(1, work.rows_of(chosen.training))))
    return plan.at_most(max_clicks=max(_FEWEST_ROWS, steps // plan.applied(settings).training.epochs))


def _cut_ranker(
    plan: Plan, work: "_RankerWork", most: int, settings: Settings, speed: "_RankerSpeed", left: float
) -> Plan:
    """The plan with a blend of at most `most` impressions, and a measurement, that fit what is left or are smallest."""
    chosen = plan.applied(settings)
    candidates = chosen.training.blend_candidates
    blend = work.blend(most, candidates, speed)
    measurement = work.measurement(chosen.evaluation.max_impressions, speed)
    left *= _RANKER_MARGIN
    for_blend = min(blend, max(_BLEND_SHARE * left, left - measurement))
    if blend > for_blend:
        # Many impressions with few candidates teach more than few with many.
        few = min(candidates, max(_FEWEST_CANDIDATES, round(_FEW_CANDIDATES / work.clicked)))
        taught = most
        while taught > _FEWEST_IMPRESSIONS and work.blend(taught, few, speed) > for_blend:
            taught = max(_FEWEST_IMPRESSIONS, taught * 9 // 10)
        plan = plan.at_most(blend_clicks=max(_FEWEST_IMPRESSIONS, taught))
        taught = min(most, plan.applied(settings).training.blend_clicks)
        rows = (for_blend - work.features(taught, speed)) * speed.rows
        fitting = int(rows / work.rows(taught, 0)) - 1
        plan = plan.at_most(blend_candidates=max(_FEWEST_CANDIDATES, min(candidates, fitting)))
    measured = chosen.evaluation.max_impressions
    while measured > _FEWEST_IMPRESSIONS and work.measurement(measured, speed) > max(left - for_blend, 0):
        measured = max(_FEWEST_IMPRESSIONS, measured * 9 // 10)
    return plan.at_most(max_impressions=measured)


def _text_line(plan: Plan, work: "_TextWork", settings: Settings, seconds: float | None) -> str:
    training = plan.applied(settings).training
    rows, what = work.rows_of(training), "users" if training.task == "hidden" else "clicks"
    return (
        f"Text model: {rows:,} {what}, {_counted(training.epochs, 'epoch')} after {training.pretrain_epochs} of "
        f"pretraining, and a regression on the texts of {min(training.regression_items, work.taught):,} items at rank "
        f"{min(plan.applied(settings).model.match, work.taught):,}, "
        f"{_within(seconds, settings)}"
    )


def _ranker_line(plan: Plan, most: int, settings: Settings, seconds: float | None) -> str:
    chosen = plan.applied(settings)
    taught, measured = min(chosen.training.blend_clicks, most), chosen.evaluation.max_impressions
    return f"Blend: at most {taught:,} impressions teach it and {measured:,} measure it, {_within(seconds, settings)}"


def _within(seconds: float | None, settings: Settings) -> str:
    allowed = settings.training.budget.total_seconds()
    budget = f"the budget of {_spoken(allowed)} (training.budget)"
    if seconds is None:
        return f"within {budget}"
    if seconds > allowed:
        return f"in about {_spoken(seconds)}, more than {budget}: what is set, or the least that teaches, takes so long"
    return f"in about {_spoken(seconds)} of {budget}"


def _spoken(seconds: float) -> str:
    return f"{seconds:.0f} s" if seconds < 90 else f"{seconds / 60:.3g} min"


def _counted(number: int, what: str) -> str:
    return f"{number} {what}" if number == 1 else f"{number} {what}s"


@dataclass(frozen=True, kw_only=True)
class _TextSpeed:
    """Floating point operations, rows of clicks and texts a second."""

    products: float
    rows: float
    texts: float


@dataclass(frozen=True, kw_only=True)
class _TextWork:
    """How much there is: items that could teach the regression, items, those known, and rows of clicks."""

    taught: int
    items: int
    known: int
    rows: int

    def regression(self, settings: Settings) -> float:
        """Floating point operations of both text regressions, and of asking them about all items."""
        model, n = settings.model, min(settings.training.regression_items, self.taught)
        match = min(model.match, n)
        columns = 2 * match + model.collaborative + model.content
        factor, solve, ask = n**3 / 3, 2 * n * n * columns, 2 * self.items * n * columns
        return 2 * (factor + solve + ask + 20 * n * (match + model.content) ** 2) + ask

    def rows_of(self, training: Training) -> int:
        """Users, or the clicks that are drawn of all."""
        return self.rows if training.task == "hidden" else min(self.rows, training.max_clicks)

    def seconds(self, settings: Settings, speed: _TextSpeed) -> float:
        training, rows = settings.training, self.rows_of(settings.training)
        return (
            self.regression(settings) / speed.products
            + training.pretrain_epochs * self.known / speed.texts
            + training.epochs * rows / speed.rows
        )


@dataclass(frozen=True, kw_only=True)
class _RankerSpeed:
    """Pairs a second: whose features are made, that a blend ranks, and from which the blend and its twin are fitted."""

    pairs: float
    ranked: float
    rows: float


@dataclass(frozen=True, kw_only=True)
class _RankerWork:
    """Candidates of a pool, how many of them an impression has clicked, and how often the blend sees each: as it was
    when it was shown, and as published.
    """

    pool: float
    clicked: float
    times: int

    def blend(self, impressions: int, candidates: int, speed: _RankerSpeed) -> float:
        return self.features(impressions, speed) + min(self.rows(impressions, candidates), ROWS) / speed.rows

    def features(self, impressions: int, speed: _RankerSpeed) -> float:
        """Seconds for the features of what teaches the blend and calibrates it, and to rank what calibrates."""
        pair = (self.times + _CALIBRATING) / speed.pairs + _CALIBRATING / speed.ranked
        return impressions * self.pool * pair

    def rows(self, impressions: int, candidates: int) -> float:
        """Pairs that the blend is fitted from, with so many others beside each click."""
        return impressions * self.times * self.clicked * (1 + candidates)

    def measurement(self, impressions: int, speed: _RankerSpeed) -> float:
        pairs = impressions * self.pool
        aged = _AGES * min(pairs, _AGED_PAIRS)
        # The blend and its twin rank all pairs, the blend alone those of other ages.
        return (_BASELINES * pairs + aged) / speed.pairs + (2 * pairs + aged) / speed.ranked


@one_thread()
def _text_speed(
    log: Log, texts: Sequence[str], starts: Sequence[datetime], known_I: NDArray[np.bool_], settings: Settings
) -> _TextSpeed:
    """Times a small regression, some steps of the network on real rows, and some of its pretraining."""
    training, device = settings.training, resolve_device(settings.training.device)
    few = training.model_copy(update={"epochs": _TIMES, "pretrain_epochs": 1})
    square = np.ones((_KERNEL, _KERNEL), np.float32)
    begun = perf_counter()
    for _ in range(_TIMES):
        _ = square @ square
    products = _SOLVING * _TIMES * 2 * _KERNEL**3 / (perf_counter() - begun)

    # The newest clicks alone: of all of them a few take as long to draw as the many that are wanted later.
    times = log.time[log.positive & (log.time < micros(starts[-1]))][-_BATCHES * few.batch_size :]
    since = next((start for start in reversed(starts[:-1]) if len(times) and micros(start) <= times[0]), starts[0])
    for most in (1, few.batch_size):  # at first indexes are made
        begun = perf_counter()
        sample = clicks_between(log, since, starts[-1], settings, most)
    drawn = len(sample) / (perf_counter() - begun)
    before = log.positive & (log.time < micros(starts[-1])) & (log.user < few.batch_size)
    rows = rows_of(log, sample, before, known_I, settings)
    some = np.flatnonzero(known_I)[:_TEXTS]
    used = np.union1d(some, [*sample.history_NH.ravel(), *sample.candidates_NC.ravel(), *log.item[before]])
    used = used[used >= 0].astype(np.int64)
    said = [texts[item] for item in used]
    tokenizer = train_tokenizer(said, settings.model.vocabulary)
    # Other items have no text here: no row of the sample asks for one.
    read_UT, length_U = tokens_of(tokenizer, said, settings.model)
    tokens_IT, lengths_I = np.zeros((len(texts), read_UT.shape[1]), np.int32), np.ones(len(texts), np.int32)
    tokens_IT[used], lengths_I[used] = read_UT, length_U
    nothing_ID = np.zeros((len(texts), settings.model.dim), np.float32)
    teacher = Teacher(item_ID=nothing_ID, click_ID=nothing_ID)
    network = build(settings.model, tokenizer.vocabulary, training.seed, len(texts), len(log.user_ids)).to(device)
    with deterministic(device):
        optimizer, speed, begun = adamw(network, training), _SLOWEST_ROWS, perf_counter()
        for epoch in range(_TIMES if len(rows) else 0):  # at first libraries are loaded and memory is taken
            if epoch and perf_counter() - begun > _ENOUGH_S:
                break
            _, speed = one_epoch(network, tokens_IT, lengths_I, teacher, rows, few, 1 + epoch, optimizer, SILENT)
        begun = perf_counter()
        tokens, lengths, nothing = (torch.from_numpy(array[some]) for array in (tokens_IT, lengths_I, nothing_ID))
        generator = torch.Generator().manual_seed(training.seed)
        pretrain(network.encoder, tokens, lengths, nothing, few, generator, lambda *_: None)
        texts_per_second = len(some) / (perf_counter() - begun)
    return _TextSpeed(products=products, rows=1 / (1 / speed + 1 / max(drawn, 1)), texts=texts_per_second)


def _ranker_speed(
    text: TextModel, log: Log, items: Items, bounds: Sequence[datetime], settings: Settings, work: _RankerWork
) -> tuple[_RankerSpeed, _RankerWork]:
    """Times the features of a few impressions, and a blend of them; also tells how many pairs such have clicked."""
    sample = newest_impressions(log, bounds, settings, max(_IMPRESSIONS, round(_PAIRS / work.pool)))
    if not len(sample):
        return _RankerSpeed(pairs=_SLOWEST_PAIRS, ranked=_SLOWEST_PAIRS, rows=_SLOWEST_PAIRS), work
    nobody = Neighbours(item_ids=[], weights=dict.fromkeys(KINDS, csr_matrix((0, 0), dtype=np.float32)))
    threads = 1 + _THREAD * (processors() - 1)

    def made(part: Impressions) -> Floats:
        return features(text, nobody, log, items, part)[1]

    for part in (take(sample, np.arange(1)), sample):  # at first indexes are made
        begun = perf_counter()
        features_PF = np.concatenate(list(in_parts(made, text, log, part)))
    pairs = len(sample.item) / (perf_counter() - begun) * threads
    clicked = float(np.sum(sample.clicked)) / len(sample)
    few = with_negatives(sample, round(_BLENDED * clicked), settings.training.seed)
    kept_P = np.searchsorted(sample.row * len(log.item_ids) + sample.item, few.row * len(log.item_ids) + few.item)
    begun = perf_counter()
    blend = fit_blend(
        features_PF[kept_P],
        few.clicked,
        few.offsets,
        few.user,
        share=NETWORKS[settings.blend.kind],
        names=list(FEATURES),
        seed=settings.training.seed,
    )
    rows = len(kept_P) / (_FITS * (perf_counter() - begun))
    begun = perf_counter()
    with threadpool_limits(1, "blas"), one_thread():
        blend.predict(features_PF, threads=1)
    ranked = len(sample.item) / (perf_counter() - begun) * threads
    return _RankerSpeed(pairs=pairs, ranked=ranked, rows=rows), replace(
        work, pool=len(sample.item) / len(sample), clicked=clicked
    )
