"""Waits for scores. Knows the store, no model; imports what reads it when a task runs."""

from datetime import datetime
from pathlib import Path
from typing import Any, ClassVar

from airflow.sdk import BaseSensorOperator, PokeReturnValue

from recsys_text.config import Settings, load
from recsys_text.errors import ConfigError, UnavailableError
from recsys_text.lake.windows import parse_time, parse_window
from recsys_text.provider.projects import step
from recsys_text.provider.rendered import given


class ScoresPublishedSensor(BaseSensorOperator):
    """Waits until scores are served that know all of a window, or speak of the time `as_of` or of a later one.

    `config` is the path of the project's TOML file. A worker's slot is free between two looks, as `mode` is
    "reschedule"; a store out of reach counts as not published yet and is told in the log. Returns {"version", "as_of"}.
    """

    template_fields: ClassVar[tuple[str, ...]] = ("config", "window", "as_of")
    ui_color = "#e8eef6"

    def __init__(
        self,
        *,
        config: str | Path,
        window: str | None = None,
        as_of: str | None = None,
        mode: str = "reschedule",
        **kwargs: Any,
    ) -> None:
        super().__init__(mode=mode, **kwargs)
        self.config = str(config)
        self.window = window
        self.as_of = as_of

    def poke(self, context: Any) -> Any:
        found = step(lambda: self._look(load(Path(self.config))))()
        return PokeReturnValue(is_done=bool(found), xcom_value=found or None)

    def _look(self, settings: Settings) -> dict[str, Any]:
        """The served version, where it is new enough; else nothing."""
        from recsys_text.steps.inputs import VIEW, the_store  # noqa: PLC0415 - polars, which no DAG waits for

        wanted = self._wanted(settings)
        try:
            with the_store(settings) as store:
                served = store.current(VIEW)
                info = next((info for info in store.versions(VIEW) if info.version == served), None)
        except UnavailableError as error:
            self.log.warning("The store does not answer, so nothing is known of its scores: %s", error)
            return {}
        as_of = None if info is None else info.as_of
        if as_of is None or as_of < wanted:
            self.log.info(
                "%s is served; waiting for scores as of %s",
                "Nothing" if as_of is None else f"{served}, as of {as_of:%Y-%m-%dT%H:%MZ},",
                f"{wanted:%Y-%m-%dT%H:%MZ}",
            )
            return {}
        self.log.info("%s is served, as of %s", served, f"{as_of:%Y-%m-%dT%H:%MZ}")
        return {"version": served, "as_of": as_of.isoformat()}

    def _wanted(self, settings: Settings) -> datetime:
        window, as_of = given(self.window), given(self.as_of)
        if bool(window) == bool(as_of):
            raise ConfigError(f"{self.task_id} has {window=} and {as_of=}; give it one of the two")
        return parse_window(window, settings.windows.span).end if window else parse_time(as_of)
