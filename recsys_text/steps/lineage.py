"""What a bundle was made of, as its run in MLflow keeps it, and the way back to it. Computes nothing."""

import json
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from pydantic import ValidationError

from recsys_text.config import Settings
from recsys_text.errors import ConfigError, ContractError, LakeChanged
from recsys_text.publications import run_of
from recsys_text.steps.inputs import VIEW, bundle_path, lake_state, the_lake, the_store
from recsys_text.tracking import CHALLENGER, CHAMPION, Tracker

#: Sections that decide a bundle's bytes, and those that tell how it was watched and used; none holds a secret.
DECIDING = ("windows", "candidates", "model", "training", "blend", "evaluation")
_TOLD = (*DECIDING, "publish", "gate")
_CONFIG, _LINEAGE = "config.json", "lineage.json"


@dataclass(frozen=True, kw_only=True)
class Lineage:
    """Of one registered version.

    windows: of each table the digest of each window that it read. parent: the version that a warm start began with, as
    the registry numbers it now.
    """

    version: str
    run_id: str
    config: Mapping[str, Any]
    cutoff: datetime
    parent: str | None
    windows: Mapping[str, Mapping[str, str]]
    environment: Mapping[str, str]


def keep(registry: Tracker, settings: Settings, cutoff: datetime, parent: str | None, read: Mapping[str, str]) -> None:
    """Puts the configuration and the windows with their digests beside the present run, before it trains.

    read: the digest of each table as it was read. Raises LakeChanged where a window has changed since.
    """
    config: dict[str, Any] = {name: getattr(settings, name).record() for name in _TOLD}
    # Where the data lay and who may read them is not told: addresses may hold a password.
    own = {
        "kind",
        "conn_id",
        "query",
        "columns",
        "values",
        "time_zone",
        "min_rows",
        "max_rejected",
        "clicks_within",
        "positive",
    }
    config["sources"] = {
        name: source.model_dump(mode="json", include=own) for name, source in settings.sources if source is not None
    }
    lake, state = the_lake(settings), lake_state(settings, before=cutoff)
    windows = {table: {key: lake.digest(table, [key]) for key in keys} for table, keys in state.keys.items() if keys}
    if not read == state.digests == lake_state(settings, before=cutoff).digests:
        raise LakeChanged("the lake changed while it was read; train again")
    about = {"cutoff": cutoff.isoformat(), "parent": parent, "windows": windows}
    about |= {} if parent is None else {"parent_run": registry.run_id(parent)}
    registry.text(json.dumps(config, indent=1), _CONFIG)
    registry.text(json.dumps(about, indent=1), _LINEAGE)


def config_of(registry: Tracker, version: str) -> Mapping[str, Any] | None:
    """The configuration that a version was trained with; None where its run does not tell."""
    text = registry.attached(version, _CONFIG)
    return None if text is None else dict(json.loads(text))


def lineage(settings: Settings, registry: Tracker, name: str) -> Lineage:
    """Of a version's number, of champion or challenger, or of the model of a published version of the scores.

    Raises ConfigError for a name that is none of these, ContractError for a version whose run does not tell.
    """
    version = _model_version(settings, registry, name)
    config, text = config_of(registry, version), registry.attached(version, _LINEAGE)
    if config is None or text is None:
        raise ContractError(
            f"the run of model version {version} does not tell what it was trained on: an older recsys-text trained "
            "it, or its artifacts are gone; train anew, and repeat that version"
        )
    about, (run_id, environment) = json.loads(text), registry.run_of(version)
    return Lineage(
        version=version,
        run_id=run_id,
        config=config,
        cutoff=datetime.fromisoformat(about["cutoff"]),
        parent=_parent(registry, about, version),
        windows=about["windows"],
        environment=environment,
    )


def _parent(registry: Tracker, about: Mapping[str, Any], version: str) -> str | None:
    """The version that a warm start began with, by the run that made it. Raises ContractError where it is gone."""
    if about["parent"] is None:
        return None
    if "parent_run" not in about:
        raise ContractError(
            f"version {version} began with version {about['parent']}, of which an older recsys-text kept the number "
            "alone, and a number is not one model for ever; repeat a version that was trained since"
        )
    try:
        return registry.version_of(about["parent_run"])
    except ConfigError as error:
        raise ContractError(f"version {version} began with version {about['parent']}, which is gone: {error}") from None


def as_trained(settings: Settings, found: Lineage) -> Settings:
    """The settings with every section that decides a bundle as it was.

    Raises ConfigError where a source's clicks_within or positive is another now: clicks would be told in another way.
    """
    wanted, now_wanted = found.config["sources"]["events"].get("positive"), list(settings.sources.events.positive)
    if wanted is not None and wanted != now_wanted:  # a version of an older release does not tell
        raise ConfigError(
            f"sources.events.positive was {wanted} when version {found.version} was trained and is {now_wanted}; "
            "set it back to repeat that training"
        )
    then = found.config["sources"].get("impressions") or {}
    now = settings.sources.impressions
    told = None if now is None else now.model_dump(mode="json")["clicks_within"]
    if then.get("clicks_within") != told:
        raise ConfigError(
            f"sources.impressions.clicks_within was {then.get('clicks_within')!r} when version {found.version} was "
            f"trained and is {told!r}; set it back to repeat that training"
        )
    try:
        sections = {name: type(getattr(settings, name)).model_validate(found.config[name]) for name in DECIDING}
    except ValidationError as error:
        told = "; ".join(f"{'.'.join(map(str, each['loc']))}: {each['msg']}" for each in error.errors())
        raise ContractError(
            f"this release cannot read the configuration of version {found.version} ({told}); repeat it with "
            f"recsys-text {found.environment.get('recsys_text', 'of then')}"
        ) from error
    return settings.model_copy(update=sections)


def check_windows(settings: Settings, found: Lineage) -> None:
    """Raises ContractError, and names the first of them, where a window that was read is gone or was changed since."""
    lake = the_lake(settings)
    for table, digests in found.windows.items():
        present = set(lake.keys(table))
        for key, digest in digests.items():
            if key not in present:
                raise ContractError(
                    f"window {key} of {table}, which version {found.version} was trained on, is gone from the lake; "
                    f"extract it again (recsys-text extract --window {key})"
                )
            if lake.digest(table, [key]) != digest:
                raise ContractError(
                    f"window {key} of {table} is not what version {found.version} was trained on: rows came late, or "
                    "it was extracted from another source since. Put the window back as it was, or train without --like"
                )


def cutoff_of(registry: Tracker, version: str) -> datetime:
    """The time before which a registered version has learned. Raises ContractError for one that doesn't tell."""
    return datetime.fromisoformat(_cutoff(registry.tags(version), version))


def cutoffs(registry: Tracker, *, whole: bool = False) -> dict[str, datetime]:
    """The cutoff of every registered version that tells it; `whole`: of the whole training that it goes back to."""
    keys = ("whole_cutoff", "cutoff") if whole else ("cutoff",)
    found = {
        version: next((tags[key] for key in keys if key in tags), None) for version, tags in registry.versions().items()
    }
    return {version: datetime.fromisoformat(cutoff) for version, cutoff in found.items() if cutoff is not None}


def whole_cutoff(registry: Tracker, version: str) -> datetime:
    """The cutoff of the whole training that a version goes back to. Raises as `cutoff_of`."""
    tags = registry.tags(version)
    return datetime.fromisoformat(tags.get("whole_cutoff") or _cutoff(tags, version))


def _cutoff(tags: Mapping[str, str], version: str) -> str:
    if "cutoff" not in tags:
        raise ContractError(
            f"model version {version} has no tag 'cutoff', so nobody knows which windows it has seen: it was not "
            "trained here, or the tag was removed; set the tag again, or train anew"
        )
    return tags["cutoff"]


def _model_version(settings: Settings, registry: Tracker, name: str) -> str:
    if name.isdecimal() or name in (CHAMPION, CHALLENGER):
        return bundle_path(settings, name)[0]
    with the_store(settings) as store:
        infos = {info.version: info for info in store.versions(VIEW)}
    if name not in infos:
        raise ConfigError(
            f"'{name}' is no model version, champion, challenger or published version; `recsys-text versions` lists "
            "the published ones"
        )
    if (model := run_of(infos[name])) is None:
        raise ConfigError(f"'{name}' does not tell the run of its model: an older recsys-text published it")
    return registry.version_of(model)
