"""Gate: whether a registered bundle may serve, and what is told of that. Knows no store."""

import json
import shutil
import time
from collections.abc import Callable, Sequence
from contextlib import suppress
from dataclasses import dataclass
from datetime import UTC, datetime
from functools import partial
from typing import Any

import numpy as np

from recsys_text.bundle import Bundle, Floats
from recsys_text.config import Settings
from recsys_text.errors import ConfigError, ContractError
from recsys_text.evaluation import metrics
from recsys_text.evaluation.bootstrap import Interval, interval
from recsys_text.evaluation.explained import markdown
from recsys_text.evaluation.gate import Verdict, decide
from recsys_text.evaluation.guards import FEWEST, Guard, guards, slowdown
from recsys_text.evaluation.measure import SCORE, baselines, count_users, or_none
from recsys_text.evaluation.slices import slices
from recsys_text.lake.windows import Window
from recsys_text.progress import SILENT, Stages, part_of
from recsys_text.ranking.log import Impressions, micros
from recsys_text.ranking.logged import take
from recsys_text.ranking.publication import unknown_then
from recsys_text.sections import Gate
from recsys_text.steps.evaluate import (
    EVALUATION,
    MEASURED_ON,
    as_configured,
    impressions_of,
    last_where,
    measured_on,
    newest_windows,
    simple_methods,
)
from recsys_text.steps.inputs import Inputs, inputs, lake_state, tracker
from recsys_text.steps.report import tell_verdict
from recsys_text.steps.served import as_served, recalibrated
from recsys_text.tracking import CHALLENGER, CHAMPION, Tracker

#: Where a verdict lies among the artifacts of its version's run; the report is for people.
VERDICT, REPORT = "gate/verdict.json", "gate/report.md"
# How often both are timed, on how many pairs, and how often more where the challenger seems too slow.
_ROUNDS, _AGAIN, _PAIRS = 5, 15, 50_000

#: Interest and click probability of impressions, float32[P] each; takes `on_progress` as `Bundle.score` does.
Score = Callable[..., tuple[Floats, Floats]]


def gate(settings: Settings, version: str | None = None, *, progress: Stages = SILENT) -> dict[str, Any]:
    """Make a version champion if it beats the champion on the same impressions of the newest windows.

    `version` is the challenger by default. The lower bound of the paired bootstrap interval of its gain in nDCG@10 must
    clear `gate.min_gain`, and no guard of [gate] refuse. The first one is compared with the best baseline, as its
    training measured both where windows, lake and settings are the same, and refused where it is worse, its whole
    interval below that. A champion that this version cannot score with counts as none: it must not keep out what can.
    Returns {"promoted", "version", "champion", "reason", "at"}, and where something was scored {"window",
    "impressions", "users"} and what `Verdict.to_json` tells, or the gain over "baseline". All of it is kept on the
    version, as tags, as VERDICT and REPORT of its run and on its page. The same windows give the same verdict, but for
    the time of scoring.

    Raises ConfigError without a challenger, ContractError where there is nothing to measure on.
    """
    registry = tracker(settings)
    champion = registry.version(CHAMPION)
    version = version or registry.version(CHALLENGER)
    if version is None:
        raise ConfigError(f"there is no challenger of '{settings.project.name}'; `recsys-text train` makes one")
    if champion == version:
        reason = "it is champion already"
        return {"promoted": True, "version": version, "champion": champion, "reason": reason, "at": _now()}
    challenging = as_configured(settings, _bundle(registry, version))
    sized = challenging.plan.applied(settings)
    if champion is None:
        return _keep(
            settings, registry, version, champion, _judge_first(sized, registry, version, challenging, progress)
        )
    try:
        bundles = [challenging, as_configured(settings, _bundle(registry, champion))]
    except ContractError as error:
        reason = f"champion {champion} cannot score any more, so it counts as none: {error}"
        return _keep(settings, registry, version, champion, {"promoted": True, "reason": reason})
    verdict, about = _judge(sized, bundles, progress)
    told = {"promoted": verdict.promote, "reason": verdict.line} | about | verdict.to_json()
    return _keep(settings, registry, version, champion, told)


def explain(settings: Settings, version: str | None = None) -> dict[str, Any]:
    """The verdict that is kept of a version, the challenger by default, else the champion; nothing is scored.

    Raises ConfigError where there is none.
    """
    registry = tracker(settings)
    version = version or registry.version(CHALLENGER) or registry.version(CHAMPION)
    if version is None:
        raise ConfigError(f"there is no model of '{settings.project.name}'; `recsys-text train` makes one")
    text = registry.attached(version, VERDICT)
    if text is None:
        raise ConfigError(f"no verdict is kept of version '{version}'; `recsys-text gate {version}` makes one")
    verdict: dict[str, Any] = json.loads(text)
    return verdict


def _judge(settings: Settings, bundles: Sequence[Bundle], progress: Stages) -> tuple[Verdict, dict[str, Any]]:
    """Compare the first bundle, the challenger, with the second, the champion; tell what they were measured on too."""
    progress.stage("Reading: the newest windows, which neither has seen")
    cutoff = max(bundle.cutoff for bundle in bundles)
    windows = newest_windows(settings, cutoff)
    data = inputs(settings)
    shown, _ = impressions_of(settings, data, windows, bundles[0].candidates, bundles[0].at)
    shown = as_served(settings, data, shown)
    unknown_P = unknown_then(data.log, shown)
    progress.stage(f"Gate: scores of challenger and champion for {len(shown):,} impressions")
    scorers = [_scorer(settings, bundle, data, shown) for bundle in bundles]
    challenger_P, champion_P = (
        np.where(unknown_P, -1, score(shown, on_progress=part_of(progress, place * len(shown), 2 * len(shown)))[1])
        for place, score in enumerate(scorers)
    )
    challenger_N, champion_N = (
        metrics.evaluate(scores_P, shown.clicked, shown.offsets)["ndcg@10"] for scores_P in (challenger_P, champion_P)
    )
    progress.stage("Guards: what the challenger must not lose in any slice, and its speed")
    chosen = settings.evaluation
    found = guards(
        challenger_P,
        champion_P,
        challenger_N - champion_N,
        shown,
        slices(data.log, shown, data.items["category"].to_list(), cutoff=micros(cutoff)),
        data.log.neutral,
        settings.gate,
        unknown_P=unknown_P,
        resamples=chosen.resamples,
        seed=chosen.seed,
    )
    verdict = decide(
        challenger_N,
        champion_N,
        shown.user,
        min_gain=settings.gate.min_gain,
        seed=chosen.seed,
        resamples=chosen.resamples,
        guards=[*found, *_slowdown(scorers, shown, settings.gate)],
    )
    keys = dict.fromkeys((windows[0].key, windows[-1].key))
    return verdict, {"window": "..".join(keys), "impressions": len(shown), "users": count_users(shown.user)}


@dataclass(frozen=True, kw_only=True)
class _Compared:
    """What a version gains over the best baseline, and on how many impressions of how many users."""

    baseline: str
    gain: Interval
    impressions: int
    users: int


def _judge_first(
    settings: Settings, registry: Tracker, version: str, bundle: Bundle, progress: Stages
) -> dict[str, Any]:
    """Judge a version where there is no champion: it must not be worse than the best baseline."""
    progress.stage("Reading: the newest windows, which it has not seen")
    windows = newest_windows(settings, bundle.cutoff)
    found = _as_trained(settings, registry, version, bundle, windows)
    if found is None:
        found = _against_baselines(settings, bundle, windows, progress)
    gain = found.gain
    worse = found.users >= FEWEST and gain.high < 0
    told = f"gain over the best baseline, {found.baseline}, {gain.mean:+.4f} [{gain.low:+.4f}, {gain.high:+.4f}]"
    keys = dict.fromkeys((windows[0].key, windows[-1].key))
    return {
        "promoted": not worse,
        "reason": f"there was no champion{', but a baseline is better' if worse else ''}; {told}",
        "gain": or_none(gain.mean),
        "low": or_none(gain.low),
        "high": or_none(gain.high),
        "baseline": found.baseline,
        "window": "..".join(keys),
        "impressions": found.impressions,
        "users": found.users,
    }


def _as_trained(
    settings: Settings, registry: Tracker, version: str, bundle: Bundle, windows: Sequence[Window]
) -> _Compared | None:
    """Read the comparison from the table of the training; None where windows, lake, settings or release differ now."""
    _, tags = registry.run_of(version)
    if tags.get(MEASURED_ON) != measured_on(settings, bundle, windows, lake_state(settings).digests):
        return None
    table = registry.table_of(version, EVALUATION)
    if table is None:
        return None
    best = baselines(table).sort("value", descending=True, nulls_last=True, maintain_order=True).row(0, named=True)
    mean, low, high = (np.nan if best[name] is None else best[name] for name in ("gain", "gain_low", "gain_high"))
    return _Compared(
        baseline=best["method"],
        gain=Interval(mean=mean, low=low, high=high),
        impressions=best["impressions"],
        users=best["users"],
    )


def _against_baselines(settings: Settings, bundle: Bundle, windows: list[Window], progress: Stages) -> _Compared:
    """Measure a bundle and every baseline on the impressions of these windows."""
    data = inputs(settings)
    shown, _ = impressions_of(settings, data, windows, bundle.candidates, bundle.at)
    shown = as_served(settings, data, shown)
    progress.stage(f"Gate: scores of {len(shown):,} impressions, and what simple methods say of them")
    score_P = _scorer(settings, bundle, data, shown)(shown, on_progress=part_of(progress, 0, len(shown)))[1]
    methods = last_where(unknown_then(data.log, shown), {SCORE: score_P})
    methods |= simple_methods(data, shown, cutoff=micros(bundle.cutoff))
    ndcg = {name: metrics.evaluate(said_P, shown.clicked, shown.offsets)["ndcg@10"] for name, said_P in methods.items()}
    score_N = ndcg.pop(SCORE)
    best = max(ndcg, key=lambda name: float(np.nanmean(ndcg[name])))
    chosen = settings.evaluation
    gain = interval(score_N - ndcg[best], shown.user, resamples=chosen.resamples, seed=chosen.seed)
    return _Compared(baseline=best, gain=gain, impressions=len(shown), users=count_users(shown.user))


def _scorer(settings: Settings, bundle: Bundle, data: Inputs, shown: Impressions) -> Score:
    """What gives the click probabilities of impressions as they would be published."""
    items = bundle.text.items(data.texts, data.log.item_ids)
    following = recalibrated(settings, bundle, data, items, shown.time)
    return partial(following.score, data.log, items)


def _slowdown(scorers: Sequence[Score], shown: Impressions, asked: Gate) -> list[Guard]:
    """Both score the same impressions in turn, and the least time of each counts: other work can only add to it.

    What seems too slow is timed on for longer, so that a machine that is busy for a moment refuses nobody. So the
    verdict is left to chance only where the challenger's time really is about as long as the bound. No guard, and no
    time spent, where it is infinite.
    """
    if np.isinf(asked.max_slowdown):
        return []
    few = take(shown, np.arange(max(1, int(np.searchsorted(shown.offsets, _PAIRS, side="right")) - 1)))
    least = np.full(2, np.inf)
    for rounds in (_ROUNDS, _AGAIN):
        for _ in range(rounds):
            least = np.minimum(least, [_seconds(score, few) for score in scorers])
        found = slowdown(float(least[0]), float(least[1]), asked)
        if found.passed:
            break
    return [found]


def _seconds(score: Score, impressions: Impressions) -> float:
    begin = time.perf_counter()
    score(impressions)
    return time.perf_counter() - begin


def _bundle(registry: Tracker, version: str) -> Bundle:
    """A registered bundle; a useless copy of it here is fetched anew. Raises ContractError if that helps nothing."""
    folder = registry.bundle(version)
    try:
        return Bundle.load(folder)
    except (ContractError, ConfigError):
        shutil.rmtree(folder)
    try:
        return Bundle.load(registry.bundle(version))
    except ConfigError as error:
        raise ContractError(str(error)) from None


def _keep(
    settings: Settings, registry: Tracker, version: str, champion: str | None, told: dict[str, Any]
) -> dict[str, Any]:
    """Keeps a verdict on its version, and then moves the aliases if it says so: no champion is without a verdict."""
    verdict = {"version": version, "champion": champion} | told | {"at": _now()}
    if champion is not None:
        with suppress(ConfigError):  # one that was registered by hand may have no run
            verdict |= {"champion_run": registry.run_id(champion)}
    registry.retag(version, "gate.", _tags(verdict))
    registry.attach(version, {VERDICT: json.dumps(verdict, indent=1), REPORT: markdown(verdict)})
    if verdict["promoted"]:
        registry.set_alias(CHAMPION, version)
        if registry.version(CHALLENGER) == version:
            registry.drop_alias(CHALLENGER)
    tell_verdict(settings, registry, version)
    return verdict


def _tags(verdict: dict[str, Any]) -> dict[str, str]:
    """What MLflow's page shows beside a version; of the guards of one key that which is nearest to refusing."""
    names = ("promoted", "reason", "champion", "champion_run", "window", "at", "gain", "low", "high")
    tags = {name: _tag(verdict[name]) for name in names if verdict.get(name) is not None}
    for guard in sorted(verdict.get("guards", []), key=_room, reverse=True):
        drawn = "" if guard["low"] == guard["high"] else f" [{guard['low']:.4f}, {guard['high']:.4f}]"
        told = f"{guard['what']} {guard['part']}".strip()
        tags[f"guard.{guard['key']}"] = (
            f"{'pass' if guard['passed'] else 'FAIL'}: {told} {guard['value']:.4f}{drawn}, "
            f"{'at least' if guard['at_least'] else 'at most'} {guard['bound']:g}"
        )
    return tags


def _room(guard: dict[str, Any]) -> float:
    """How far a guard is from refusing."""
    if guard["at_least"]:
        return float(guard["high"] - guard["bound"])
    return float(guard["bound"] - guard["low"])


def _tag(value: Any) -> str:
    return str(value).lower() if isinstance(value, bool) else str(value)


def _now() -> str:
    return datetime.now(UTC).isoformat(timespec="seconds")
