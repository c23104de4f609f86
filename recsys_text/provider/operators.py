"""The steps as operators, for people who write their own DAGs. Knows Airflow; a task imports its step when it runs.

Each takes the path of a project's config, hands on ids and counts by XCom, never frames, and fails without another
try on a user's mistake.
"""

from pathlib import Path
from typing import Any, ClassVar

from airflow.sdk import BaseOperator
from airflow.sdk.exceptions import AirflowSkipException

from recsys_text.config import Settings, load
from recsys_text.errors import ConfigError
from recsys_text.lake.windows import Window, parse_time, parse_window, windows_between
from recsys_text.provider import telling
from recsys_text.provider.rendered import flag, given, number
from recsys_text.provider.running import hide_secrets, step
from recsys_text.provider.training import train

# ruff: noqa: PLC0415 - parsing a DAG must import neither torch nor MLflow


class StepOperator(BaseOperator):
    """A step of the project whose config is at `config`."""

    template_fields: ClassVar[tuple[str, ...]] = ("config",)
    ui_color = "#e8eef6"

    def __init__(self, *, config: str | Path, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self.config = str(config)

    def execute(self, context: Any) -> dict[str, Any]:
        return step(self._run)(context)

    def _run(self, context: Any) -> dict[str, Any]:
        settings = load(Path(self.config))
        hide_secrets(settings)(context)
        return self.run_step(settings)

    def run_step(self, settings: Settings) -> dict[str, Any]:
        raise NotImplementedError


class ExtractOperator(StepOperator):
    """Brings one window, by its key, or the half-open span from `start` to `end` into the lake.

    Returns {"windows": [key], "rows": {table: rows}, "rejected": {table: rows}}.
    """

    template_fields = (*StepOperator.template_fields, "window", "start", "end")

    def __init__(self, *, window: str | None = None, start: str | None = None, end: str | None = None, **kwargs: Any):
        super().__init__(**kwargs)
        self.window = window
        self.start = start
        self.end = end

    def run_step(self, settings: Settings) -> dict[str, Any]:
        from recsys_text.steps.extract import extract

        windows = self._windows(settings)
        with telling.progress("Extraction"):
            tables = extract(settings, windows)["tables"]
        return {
            "windows": [window.key for window in windows],
            "rows": {table: sum(told["rows"] for told in of.values()) for table, of in tables.items()},
            "rejected": {
                table: sum(sum(told["rejected"].values()) for told in of.values()) for table, of in tables.items()
            },
        }

    def _windows(self, settings: Settings) -> list[Window]:
        window, start, end = given(self.window), given(self.start), given(self.end)
        if window and not (start or end):
            return [parse_window(window, settings.windows.span)]
        if window or not (start and end):
            raise ConfigError(
                f"{self.task_id} has {window=}, {start=}, {end=}; give it either a window, or a start and an end"
            )
        return windows_between(parse_time(start), parse_time(end), settings.windows.span)


class TrainOperator(StepOperator):
    """Trains a challenger on what is strictly before `cutoff`, by default the start of the newest windows.

    `seed` replaces that of the config; with `warm_start` the training goes on from the champion.
    Returns {"version", "run_id", "cutoff"}.
    """

    template_fields = (*StepOperator.template_fields, "cutoff", "seed", "warm_start")

    def __init__(
        self,
        *,
        cutoff: str | None = None,
        seed: int | str | None = None,
        warm_start: bool | str = False,
        **kwargs: Any,
    ) -> None:
        super().__init__(**kwargs)
        self.cutoff = cutoff
        self.seed = seed
        self.warm_start = warm_start

    def run_step(self, settings: Settings) -> dict[str, Any]:
        return train(
            settings,
            cutoff=given(self.cutoff),
            seed=number("seed", self.seed),
            warm_start=flag("warm_start", self.warm_start),
        )


class GateOperator(StepOperator):
    """Makes a version of the model champion if it beats the champion; skips what follows where it does not.

    `version` is a template, such as "{{ ti.xcom_pull('train')['version'] }}". Returns the verdict.
    """

    template_fields = (*StepOperator.template_fields, "version")

    def __init__(self, *, version: str, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self.version = version

    def run_step(self, settings: Settings) -> dict[str, Any]:
        from recsys_text.steps.gate import gate

        with telling.progress() as progress:
            verdict = gate(settings, self.version, progress=progress)
        if not verdict["promoted"]:
            raise AirflowSkipException(verdict["reason"])
        return verdict


class PublishOperator(StepOperator):
    """Scores every user with the champion in this one task, and swaps the version in.

    Returns {"version", "users", "swapped", "pairs"}; where that version was published before, it is no work.
    """

    def run_step(self, settings: Settings) -> dict[str, Any]:
        from recsys_text.steps.publish import publish

        with telling.progress() as progress:
            return publish(settings, progress=progress)


class MonitorOperator(StepOperator):
    """Measures what was published before a window, the newest by default, against its clicks.

    Returns {"window", "version"}; the figures are in the lake. Skips what follows where there is nothing to measure.
    """

    template_fields = (*StepOperator.template_fields, "window")

    def __init__(self, *, window: str | None = None, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self.window = window

    def run_step(self, settings: Settings) -> dict[str, Any]:
        from recsys_text.steps.monitor import monitor

        with telling.progress("Monitoring"):
            result = monitor(settings, given(self.window))
        if not result["rows"]:
            raise AirflowSkipException(result["reason"])
        return {"window": result["window"], "version": result["version"]}
