"""Runs, registered bundles and their aliases in MLflow. Knows no data."""

import errno
import json
import shutil
import tempfile
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

import mlflow
import polars as pl
from mlflow.data.code_dataset_source import CodeDatasetSource
from mlflow.data.meta_dataset import MetaDataset
from mlflow.entities import Metric
from mlflow.exceptions import MlflowException
from mlflow.models import ModelSignature
from mlflow.tracking._tracking_service.utils import _artifact_repos_cache
from mlflow.types.schema import Array, ColSpec, DataType, Schema

from recsys_text import __version__
from recsys_text.errors import ConfigError, ContractError
from recsys_text.sqlite import sqlite_file
from recsys_text.tracking.connection import Connection, creating
from recsys_text.tracking.environment import environment
from recsys_text.tracking.moved import ARTIFACTS, follow_root
from recsys_text.tracking.recorded import Recorded, recorded

CHAMPION = "champion"
CHALLENGER = "challenger"

#: Bundles that are kept here beside MLflow's own: more than are in use at one time.
_BUNDLES = 8
_TEXTS = Array(DataType.string)
_NUMBERS = Array(DataType.double)


class Tracker:
    """The runs and the registered model of one project.

    Raises UnavailableError from every method when the server or the database is out of reach, ConfigError
    when MLflow refuses the address, the credentials or what is asked.
    """

    def __init__(self, uri: str, name: str, root: Path) -> None:
        self._name = name
        self._root = root
        self._mlflow = Connection(uri)
        with self._mlflow(), creating(uri):
            self._client = mlflow.MlflowClient()
            self._client.search_registered_models(max_results=1)  # opens the registry too, while nobody else does
            experiment = self._client.get_experiment_by_name(name)
            if experiment is None:
                artifacts = (root / ARTIFACTS).absolute().as_uri() if sqlite_file(uri) else None
                try:
                    self._experiment = self._client.create_experiment(name, artifact_location=artifacts)
                except MlflowException:
                    experiment = self._client.get_experiment_by_name(name)  # another task may have been first
                    if experiment is None:
                        raise
            if experiment is not None:
                self._experiment = experiment.experiment_id
                if (database := sqlite_file(uri)) is not None:
                    follow_root(database, experiment.artifact_location, root)
                    # MLflow keeps the place of a run's artifacts for as long as a process lives, by the run's id: a
                    # copy of a project has the same runs in another place.
                    _artifact_repos_cache.clear()

    @contextmanager
    def run(
        self,
        *,
        params: Mapping[str, Any],
        datasets: Mapping[str, str],
        nested: bool = False,
        resume: str | None = None,
    ) -> Iterator[str]:
        """One run: parameters, environment and a digest per dataset. Yields its id.

        nested: below the run that is open. resume: the id of a former run with these parameters, to go on with; a
        new one begins where MLflow no longer has it.
        """
        ran_on = environment()
        with self._mlflow():
            run_id = self._start(nested, resume)
        status = "FAILED"
        try:
            with self._mlflow():
                mlflow.log_params(_flat(params))
                mlflow.set_tags(ran_on)
                for name, digest in datasets.items():
                    source = CodeDatasetSource(tags={"table": name, "digest": digest})
                    mlflow.log_input(MetaDataset(source=source, name=name, digest=digest[:36]))
            yield run_id
            status = "FINISHED"
        except KeyboardInterrupt:
            status = "KILLED"
            raise
        finally:
            with self._mlflow():
                mlflow.end_run(status)

    def _start(self, nested: bool, resume: str | None) -> str:
        if resume is not None:
            try:
                if self._client.get_run(resume).info.lifecycle_stage == "active":
                    return str(mlflow.start_run(run_id=resume).info.run_id)
            except MlflowException as error:
                if error.error_code != "RESOURCE_DOES_NOT_EXIST":
                    raise
        return str(mlflow.start_run(experiment_id=self._experiment, nested=nested).info.run_id)

    def metrics(self, values: Mapping[str, float], step: int = 0) -> None:
        """Logs figures of the present run."""
        with self._mlflow():
            mlflow.log_metrics(dict(values), step=step)

    def served(self, run_id: str, values: Mapping[str, float], *, step: int) -> None:
        """Logs figures to a run that has ended. Of a step that is logged again the later figure counts."""
        with self._mlflow():
            at = int(time.time() * 1000)
            self._client.log_batch(run_id, metrics=[Metric(name, value, at, step) for name, value in values.items()])

    def mark(self, tags: Mapping[str, Any]) -> None:
        """Puts tags on the present run."""
        with self._mlflow():
            mlflow.set_tags(dict(tags))

    def table(self, frame: pl.DataFrame, name: str) -> None:
        """Keeps a table as a JSON artifact that MLflow's page shows."""
        with self._mlflow():
            mlflow.log_table({column: frame[column].to_list() for column in frame.columns}, f"{name}.json")

    def table_of(self, version: str, name: str) -> pl.DataFrame | None:
        """A table that the run which made a version kept by `table`; None where there is none, or no such version.

        Its floats have ten decimal places, as MLflow writes them.
        """
        text = self.attached(version, f"{name}.json")
        if text is None:
            return None
        kept = json.loads(text)
        return pl.DataFrame(kept["data"], schema=kept["columns"], orient="row", infer_schema_length=None)

    def text(self, text: str, name: str) -> None:
        """Keeps a text as an artifact; MLflow's page shows a picture as such where its name ends in .svg."""
        with self._mlflow():
            mlflow.log_text(text, name)

    def register(self, bundle: Path, example: Mapping[str, Any], optional: Sequence[str]) -> str:
        """Registers a bundle's folder as a new version of the project's model; returns the version.

        `example` has a history and candidates as lists of texts; `optional` names columns of numbers per candidate.
        """
        import pandas as pd  # noqa: PLC0415 - MLflow takes its input example as pandas, and brings it along

        signature = ModelSignature(
            inputs=Schema(
                [ColSpec(_TEXTS, name) for name in ("history", "candidates")]
                + [ColSpec(_NUMBERS, name, required=False) for name in optional]
            ),
            outputs=Schema([ColSpec(_NUMBERS, name) for name in ("interest", "score")]),
        )
        with self._mlflow():
            info = mlflow.pyfunc.log_model(
                name="bundle",
                loader_module="recsys_text.bundle",
                data_path=str(bundle),
                signature=signature,
                input_example=pd.DataFrame([dict(example)]),
                pip_requirements=[f"recsys-text[train]=={__version__}"],
            )
            with suppress(MlflowException):
                self._client.create_registered_model(self._name)
            created = self._client.create_model_version(
                self._name, source=info.model_uri, run_id=info.run_id, model_id=info.model_id
            )
            return str(created.version)

    def version(self, alias: str) -> str | None:
        """The model version that bears an alias; None where there is none."""
        with self._mlflow():
            try:
                return str(self._client.get_model_version_by_alias(self._name, alias).version)
            except MlflowException as error:
                if error.error_code in ("RESOURCE_DOES_NOT_EXIST", "INVALID_PARAMETER_VALUE"):
                    return None
                raise

    def set_alias(self, alias: str, version: str) -> None:
        with self._mlflow():
            self._client.set_registered_model_alias(self._name, alias, version)

    def drop_alias(self, alias: str) -> None:
        with self._mlflow():
            self._client.delete_registered_model_alias(self._name, alias)

    def tag(self, version: str, tags: Mapping[str, Any]) -> None:
        """Puts tags on a registered version."""
        with self._mlflow():
            for key, value in tags.items():
                self._client.set_model_version_tag(self._name, version, key, str(value))

    def retag(self, version: str, prefix: str, tags: Mapping[str, Any]) -> None:
        """Puts tags on a registered version, each name behind the prefix; former ones with that prefix are gone."""
        with self._mlflow():
            former = self._client.get_model_version(self._name, version).tags
            for key in former:
                if key.startswith(prefix) and key.removeprefix(prefix) not in tags:
                    self._client.delete_model_version_tag(self._name, version, key)
        self.tag(version, {f"{prefix}{key}": value for key, value in tags.items()})

    def attach(self, version: str, texts: Mapping[str, str]) -> None:
        """Keeps texts as artifacts of the run that made a version, by path; former ones at these paths are replaced."""
        with self._mlflow():
            run_id = self._run_id(version)
            for path, text in texts.items():
                self._client.log_text(run_id, text, path)

    def attached(self, version: str, path: str) -> str | None:
        """A text that `attach`, or `text` within the run, kept; None where there is none, or no such version."""
        with self._mlflow():
            run_id = self._known_run_id(version)
            folder = path.rpartition("/")[0] or None
            if run_id is None or path not in {file.path for file in self._client.list_artifacts(run_id, folder)}:
                return None
            return str(mlflow.artifacts.load_text(f"runs:/{run_id}/{path}"))

    def tags(self, version: str) -> dict[str, str]:
        """The tags of a registered version."""
        with self._mlflow():
            return dict(self._client.get_model_version(self._name, version).tags)

    def versions(self) -> dict[str, dict[str, str]]:
        """The tags of every registered version."""
        with self._mlflow():
            page = self._client.search_model_versions(f"name = '{self._name}'")
            found = list(page)
            while page.token:
                page = self._client.search_model_versions(f"name = '{self._name}'", page_token=page.token)
                found += page
        return {str(version.version): dict(version.tags) for version in found}

    def recorded(self, version: str) -> Recorded | None:
        """What the run of a registered version has recorded; None where the run or the version was deleted."""
        with self._mlflow():
            run_id = self._known_run_id(version)
            return None if run_id is None else recorded(self._client, run_id)

    def recorded_by(self, run_id: str) -> Recorded | None:
        """What a run has recorded; None where it was deleted, or is another registry's."""
        with self._mlflow():
            return recorded(self._client, run_id)

    def run_id(self, version: str) -> str:
        """The run that made a registered version. Raises ConfigError where there is none."""
        with self._mlflow():
            run_id = self._known_run_id(version)
        if not run_id:
            raise ConfigError(
                f"version '{version}' of model '{self._name}' names no run that made it, so nothing tells it from "
                "others of its number; register it with its run_id, or train"
            )
        return run_id

    def version_of(self, run_id: str) -> str:
        """The newest registered version that a run made. Raises ConfigError where the registry has none."""
        with self._mlflow():
            made = self._client.search_model_versions(f"run_id = '{run_id}'")
        made = [version for version in made if version.name == self._name]
        if not made:
            raise ConfigError(
                f"the model that run {run_id} made is not in the registry of '{self._name}': it was deleted, or the "
                "registry is another one now; publish again with the champion that it has"
            )
        return str(max(int(version.version) for version in made))

    def run_of(self, version: str) -> tuple[str, dict[str, str]]:
        """The run that made a registered version, and its tags."""
        with self._mlflow():
            run_id = self._run_id(version)
            return run_id, dict(self._client.get_run(run_id).data.tags)

    def bundle(self, version: str) -> Path:
        """The folder of a registered bundle, fetched once and kept under the project's root; so are the last used ones.

        Raises ConfigError for a version that the registry does not know, ContractError for one whose files are gone.
        """
        with self._mlflow():
            try:
                run_id = self._run_id(version)
            except MlflowException as error:
                if error.error_code == "RESOURCE_DOES_NOT_EXIST":
                    raise ConfigError(f"model '{self._name}' has no version '{version}'") from None
                raise
        # The run too: a registry that was made anew counts its versions from 1 again.
        folder = self._root / "bundles" / f"{version}-{run_id[:12]}"
        if folder.exists():
            folder.touch()
            return folder
        with self._mlflow(), tempfile.TemporaryDirectory(dir=self._scratch(), prefix=".bundle-") as scratch:
            fetched = mlflow.artifacts.download_artifacts(f"models:/{self._name}/{version}", dst_path=scratch)
            found = next((Path(fetched) / "data").glob("*"), None)
            if found is None:
                place = self._client.get_model_version_download_uri(self._name, version)
                raise ContractError(
                    f"the bundle of version {version} is gone: nothing is at {place} any more; "
                    "put it back there, or train again"
                )
            try:
                found.rename(folder)
            except OSError as error:
                if error.errno not in (errno.EEXIST, errno.ENOTEMPTY):  # another process may have fetched it meanwhile
                    raise
        folder.touch()
        for unused in sorted(self._scratch().glob("[!.]*"), key=_used, reverse=True)[_BUNDLES:]:
            shutil.rmtree(unused, ignore_errors=True)
        return folder

    def _run_id(self, version: str) -> str:
        return self._client.get_model_version(self._name, version).run_id or ""

    def _known_run_id(self, version: str) -> str | None:
        try:
            return self._run_id(version)
        except MlflowException as error:
            if error.error_code in ("RESOURCE_DOES_NOT_EXIST", "INVALID_PARAMETER_VALUE"):
                return None
            raise

    def _scratch(self) -> Path:
        folder = self._root / "bundles"
        folder.mkdir(parents=True, exist_ok=True)
        return folder


def _used(folder: Path) -> float:
    try:
        return folder.stat().st_mtime
    except FileNotFoundError:  # another process has removed it
        return 0.0


def _flat(values: Mapping[str, Any], prefix: str = "") -> dict[str, Any]:
    flat: dict[str, Any] = {}
    for key, value in values.items():
        flat |= _flat(value, f"{prefix}{key}.") if isinstance(value, Mapping) else {f"{prefix}{key}": value}
    return flat
