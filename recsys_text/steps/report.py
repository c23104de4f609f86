"""Report: what a version learned from what, how it did and what changed, as one HTML page. Knows no store."""

import logging
from collections import Counter
from collections.abc import Mapping
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import numpy as np

from recsys_text.bundle import Bundle, features
from recsys_text.config import Settings
from recsys_text.errors import ConfigError, ContractError, UnavailableError
from recsys_text.evaluation import examples, lists
from recsys_text.evaluation.freshness import drawn
from recsys_text.evaluation.importance import permuted
from recsys_text.evaluation.popularity import by_popularity
from recsys_text.evaluation.table import left_out
from recsys_text.lake.store import Lake
from recsys_text.lake.windows import Window, parse_window
from recsys_text.ranking.candidates import histories, with_negatives
from recsys_text.ranking.features import FEATURES
from recsys_text.ranking.log import Impressions, Int32, Int64, micros
from recsys_text.ranking.logged import take
from recsys_text.report import Change, Content, Example, Listed, WindowRow, render, with_verdict
from recsys_text.steps.evaluate import Measured, clicks_before, measure
from recsys_text.steps.inputs import bundle_path, lake_state, the_lake, tracker, write_whole
from recsys_text.tracking import CHAMPION, Recorded, Tracker

#: The name of the page among the artifacts of its run.
_PAGE = "report.html"
#: What the names of the tags begin with that hold the gate's verdict.
_GATE = "gate."
#: Clicks of a user, and items of a list, that an example shows.
_HISTORY, _LISTED = 5, 5
# Candidates whose features are computed for the importance, others beside each click that are kept of them, and
# features that are shuffled: together a second or two.
_CANDIDATES, _OTHERS, _SHUFFLED = 250_000, 40, 20
_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)


def report(settings: Settings, model: str = CHAMPION) -> Path:
    """Writes the page of a registered version, measured on the newest windows, keeps it with its run, and returns where
    it is.

    Where nothing can be measured the page says why. Raises ConfigError for an unknown model or a mere folder,
    ContractError for a bundle that is damaged, UnavailableError where MLflow is out of reach or nothing can be written.
    """
    version, folder = bundle_path(settings, model)
    if not version.isdecimal():
        raise ConfigError(f"'{model}' is a folder and no registered version; a report needs its run, so give a version")
    bundle, measured, notes = Bundle.load(folder), None, []
    try:
        measured = measure(settings, bundle)
    except ContractError as error:
        notes.append(f"Nothing was measured: {error}")
    registry = tracker(settings)
    return _keep(settings, registry, version, to_html(settings, registry, version, bundle, measured, notes=notes))


def report_training(settings: Settings, registry: Tracker, version: str, bundle: Bundle, measured: Measured) -> Path:
    """Writes the page of a version that its run has just registered, keeps it with that run, and returns where it is.

    Raises as `report`.
    """
    return _keep(settings, registry, version, to_html(settings, registry, version, bundle, measured))


def tell_verdict(settings: Settings, registry: Tracker, version: str) -> None:
    """Puts the gate's verdict, as it is kept now, on the page of a version; nothing where that has no page.

    A page that cannot be written is told in the log: the verdict stands without it.
    """
    page = registry.attached(version, _PAGE)
    if page is None:
        return
    try:
        _keep(settings, registry, version, with_verdict(page, _verdict(registry.tags(version))))
    except (UnavailableError, ValueError) as error:
        logging.getLogger("recsys_text").warning(
            "the report of version %s does not show the verdict: %s; `recsys-text report --model %s` writes it anew",
            *(version, error, version),
        )


def to_html(
    settings: Settings,
    registry: Tracker,
    version: str,
    bundle: Bundle,
    measured: Measured | None,
    *,
    notes: list[str] | None = None,
) -> str:
    """The page of a registered version; without `measured` its evaluation is said to be missing."""
    tags, run = registry.tags(version), registry.recorded(version)
    verdict = _verdict(tags)
    champion, former = _compared(registry, version, run, tags)
    manifests, damaged = _manifests(the_lake(settings))
    content = Content(
        project=settings.project.name,
        version=version,
        facts=_facts(bundle.cutoff, run, measured),
        notes=[*(notes or []), *damaged, *_notes(settings, bundle.cutoff, run)],
        windows=_windows(settings, bundle.cutoff, measured.windows if measured else [], manifests),
        rejected=_rejected(manifests),
        digests=run.digests if run else {},
        curves=run.curves if run else {},
        table=measured.table if measured else None,
        reliability=measured.reliability if measured else None,
        gain=bundle.blend.importance(),
        champion=champion,
        configuration=_configuration(former, run),
        metrics=_metrics(former, run),
        verdict=verdict,
    )
    return render(_with_lists(content, bundle, measured, settings.evaluation.seed) if measured else content)


def _compared(
    registry: Tracker, version: str, run: Recorded | None, tags: Mapping[str, str]
) -> tuple[str | None, Recorded | None]:
    """The champion that a version was judged against, by its run, else the present one, and what it has recorded.

    None where that is the version itself or gone, and where the verdict of an older release tells its number alone.
    """
    champion_run = tags.get(f"{_GATE}champion_run")
    try:
        if f"{_GATE}champion" not in tags and (champion := registry.version(CHAMPION)) not in (None, version):
            champion_run = registry.run_id(champion)
        if champion_run is None or (run is not None and champion_run == run.run_id):
            return None, None
        return registry.version_of(champion_run), registry.recorded_by(champion_run)
    except ConfigError:
        return None, None


def _verdict(tags: Mapping[str, str]) -> dict[str, str]:
    told = {key.removeprefix(_GATE): _short(value) for key, value in tags.items() if key.startswith(_GATE)}
    return {key: value for key, value in told.items() if key != "champion_run"}


def _short(value: str) -> str:
    """A tag as it is, but for the many digits of a fraction."""
    try:
        return f"{float(value):.4f}" if "." in value else value
    except ValueError:
        return value


def _keep(settings: Settings, registry: Tracker, version: str, page: str) -> Path:
    path = settings.project.root / "reports" / f"report-{version}.html"
    write_whole(path, lambda partial: partial.write_text(page))
    if registry.recorded(version) is not None:
        registry.attach(version, {_PAGE: page})
    return path


def _facts(cutoff: datetime, run: Recorded | None, measured: Measured | None) -> list[tuple[str, str]]:
    facts = [("Learned from what is before", f"{cutoff:%Y-%m-%d %H:%M} UTC")]
    if measured:
        keys = dict.fromkeys((measured.windows[0].key, measured.windows[-1].key))
        facts.append(("Tested on", " to ".join(keys)))
        facts.append(("Clicks of the test", left_out(measured.dropped, measured.missed)))
    if run:
        facts.append(("MLflow run", f"{run.run_id}, {run.status.lower()}, begun {run.started:%Y-%m-%d %H:%M} UTC"))
        names = {"recsys_text": "recsys-text", "python": "Python", "mlflow.source.git.commit": "commit"}
        code = ", ".join(f"{shown} {run.tags[name]}" for name, shown in names.items() if name in run.tags)
        facts.append(("Code", code))
    return facts


def _notes(settings: Settings, cutoff: datetime, run: Recorded | None) -> list[str]:
    if run is None:
        return ["Its run is no longer in MLflow, so its learning curves and configuration are unknown."]
    notes = []
    if run.status in ("FAILED", "KILLED"):
        how = "failed" if run.status == "FAILED" else "was killed"
        notes.append(f"Its run {how} before its end: what it had not logged by then is missing.")
    try:
        now = lake_state(settings, before=cutoff).digests
    except ContractError:
        now = {}
    changed = [table for table, digest in run.digests.items() if now.get(table, "")[: len(digest)] != digest]
    if changed:
        notes.append(f"The lake has changed since it learned: {', '.join(changed)} before its cutoff are others now.")
    return notes


def _manifests(lake: Lake) -> tuple[dict[str, dict[str, dict[str, Any]]], list[str]]:
    """Of each window of events, by its key: what the manifests of the tables that have it say, and what is wrong with
    those that say nothing. Each is read once.
    """
    found: dict[str, dict[str, dict[str, Any]]] = {key: {} for key in lake.keys("events")}
    damaged = []
    for table in ("events", "items", "impressions"):
        for key in lake.keys(table):
            if key in found:
                try:
                    found[key][table] = lake.manifest(table, key)
                except ContractError as error:
                    damaged.append(f"A window is left out: {error}")
    return found, damaged


def _windows(
    settings: Settings, cutoff: datetime, tested: list[Window], manifests: Mapping[str, Mapping[str, dict[str, Any]]]
) -> list[WindowRow]:
    spans = [parse_window(key, settings.windows.span) for key in manifests]
    learned = set([span for span in spans if span.end <= cutoff][-settings.training.history :])
    rows = []
    for span, found in zip(spans, manifests.values(), strict=True):
        role = "tested on" if span in tested else "learned from" if span in learned else "older"
        rows.append(
            WindowRow(
                key=span.key,
                role="later" if role == "older" and span.start >= cutoff else role,
                **{
                    table: found[table]["rows"] if table in found else 0 for table in ("events", "items", "impressions")
                },
                rejected=sum(sum(each["rejected"].values()) for each in found.values()),
                duplicates=sum(each["duplicates"] for each in found.values()),
            )
        )
    return rows


def _rejected(manifests: Mapping[str, Mapping[str, dict[str, Any]]]) -> dict[str, int]:
    """Rows by table and rule."""
    counts: Counter[str] = Counter()
    for found in manifests.values():
        for table, manifest in found.items():
            counts.update({f"{table}: {rule}": count for rule, count in manifest["rejected"].items()})
    return dict(counts)


def _configuration(former: Recorded | None, run: Recorded | None) -> list[Change]:
    if former is None or run is None:
        return []
    keys = sorted({*former.params, *run.params})
    changes = [Change(name=key, before=former.params.get(key), after=run.params.get(key)) for key in keys]
    return [change for change in changes if change.before != change.after]


def _metrics(former: Recorded | None, run: Recorded | None) -> list[Change]:
    """The figures of the score, of the interest and of what was left out, of both."""
    if former is None or run is None:
        return []

    def told(of: Mapping[str, float], name: str) -> str | None:
        return f"{of[name]:.4g}" if name in of else None

    wanted = ("score/", "interest/ndcg", "interest/auc", "clicks_outside", "events_without", "candidates_without")
    names = sorted(name for name in {*former.metrics, *run.metrics} if name.startswith(wanted))
    return [Change(name=name, before=told(former.metrics, name), after=told(run.metrics, name)) for name in names]


def _with_lists(content: Content, bundle: Bundle, measured: Measured, seed: int) -> Content:
    """And what the tested lists are like: popularity, importance, examples."""
    log, impressions = measured.data.log, measured.impressions
    clicks_I = clicks_before(log, micros(bundle.cutoff))
    first_NK = lists.first(measured.score_P, impressions, log.neutral)
    good, bad, place_N = examples.chosen(measured.score_P, impressions, seed=seed)
    return replace(
        content,
        popularity=by_popularity(clicks_I, log.neutral, first_NK, impressions),
        permuted=_permuted(bundle, measured, seed),
        good=[_example(measured, clicks_I, first_NK, int(row), int(place_N[row])) for row in good],
        bad=[_example(measured, clicks_I, first_NK, int(row), int(place_N[row])) for row in bad],
    )


def _permuted(bundle: Bundle, measured: Measured, seed: int) -> dict[str, float]:
    """Features are computed in whole lists, as when they are served; only then are candidates left out."""
    data, blend = measured.data, bundle.blend
    whole = take(measured.impressions, drawn(measured.impressions, _CANDIDATES, seed))
    _, features_PF = features(bundle.text, bundle.neighbours, data.log, measured.items, whole)
    few = with_negatives(whole, _OTHERS, seed)
    catalogue = len(data.log.item_ids)
    kept_P = np.searchsorted(whole.row * catalogue + whole.item, few.row * catalogue + few.item)
    of_trees = list(blend.importance())[:_SHUFFLED]
    places = [FEATURES.index(name) for name in of_trees] or list(range(len(FEATURES)))
    lost = permuted(blend.predict, features_PF[kept_P], few.clicked, few.offsets, places, seed=seed)
    return {FEATURES[place]: value for place, value in lost.items()}


def _example(measured: Measured, clicks_I: Int64, first_NK: Int32, row: int, place: int) -> Example:
    log, shown, titles = measured.data.log, measured.impressions, measured.data.items["title"]
    pairs = slice(int(shown.offsets[row]), int(shown.offsets[row + 1]))
    item_C, score_C, clicked_C = shown.item[pairs], measured.score_P[pairs], shown.clicked[pairs]
    best = int(item_C[clicked_C][np.argmax(score_C[clicked_C])])
    own = _history(measured, shown, row)
    listed = []
    for item in first_NK[row][:_LISTED]:
        if item >= 0:
            at = int(np.flatnonzero(item_C == item)[0])
            listed.append(Listed(title=titles[int(item)], score=float(score_C[at]), clicked=bool(clicked_C[at])))
    user = int(shown.user[row])
    return Example(
        user=log.user_ids[user] if user >= 0 else "unknown to the log",
        time=f"{_EPOCH + timedelta(microseconds=int(shown.time[row])):%Y-%m-%d %H:%M} UTC",
        history=[titles[int(item)] for item in own if item >= 0],
        listed=listed,
        clicked=titles[best],
        clicks=int(clicks_I[best]),
        place=place,
        of=len(item_C),
    )


def _history(measured: Measured, shown: Impressions, row: int) -> Int32:
    one = np.array([row])
    history_H: Int32 = histories(measured.data.log, shown.user[one], shown.time[one], _HISTORY)[0]
    return history_H
