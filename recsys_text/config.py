"""One TOML file to frozen settings, each value open to an environment variable. Touches no data.

An environment variable is named by the section and the key: `RECSYS_TEXT_TRAINING__EPOCHS=2`
overrides `epochs` in `[training]`. `project.root`, the paths of sources and files of `tracking.uri` start at the folder
of the TOML file, the folder of `store.url` starts at `project.root`. `${NAME}` in any text of the file stands
for an environment variable; the store's password stands in no other way in it.
"""

import os
import re
import tomllib
from datetime import timedelta
from pathlib import Path
from typing import Any, Self

from pydantic import Field, ValidationError, model_validator
from pydantic_settings import BaseSettings, PydanticBaseSettingsSource, SettingsConfigDict, SettingsError

from recsys_text.environment import check_overrides, expand, explain, explain_override
from recsys_text.errors import ConfigError
from recsys_text.sections import (
    Alert,
    Blend,
    Candidates,
    Evaluation,
    Gate,
    Model,
    Project,
    Publish,
    Schedule,
    Service,
    Sources,
    Store,
    Tracking,
    Training,
    Windows,
)
from recsys_text.sqlite import sqlite_url

ENV_PREFIX = "RECSYS_TEXT_"
_SOURCES = "sources"


class Settings(BaseSettings):
    """Everything that a step may know of a project. Frozen; made by `load`."""

    model_config = SettingsConfigDict(
        env_prefix=ENV_PREFIX, env_nested_delimiter="__", extra="forbid", frozen=True, case_sensitive=False
    )

    project: Project
    sources: Sources
    windows: Windows = Windows()
    candidates: Candidates = Candidates()
    model: Model = Model()
    training: Training = Training()
    blend: Blend = Blend()
    evaluation: Evaluation = Evaluation()
    publish: Publish = Publish()
    store: Store = Store()
    gate: Gate = Gate()
    schedule: Schedule = Schedule()
    tracking: Tracking = Tracking()
    service: Service = Service()
    alerts: dict[str, Alert] = Field(default_factory=dict)

    @model_validator(mode="after")
    def _learnable(self) -> Self:
        if self.training.task == "hidden" and self.model.clicks != "learned":
            raise ValueError("training.task = 'hidden' needs model.clicks = 'learned': whole histories are not encoded")
        return self

    @model_validator(mode="after")
    def _settled(self) -> Self:
        impressions = self.sources.impressions
        within = impressions and impressions.clicks_within
        if within and within >= self.windows.span:
            raise ValueError(
                f"sources.impressions.clicks_within = {within} is not shorter than windows.length = "
                f"{self.windows.length}: no impression would settle within its window; "
                "shorten clicks_within or lengthen the windows"
            )
        return self

    @model_validator(mode="after")
    def _logged_until_extracted(self) -> Self:
        # The window that just closed and the late ones before it are extracted until the next one closes.
        kept, needed = self.service.keep_impressions, (self.windows.late + 2) * self.windows.span
        if kept is not None and kept < needed:
            raise ValueError(
                f"service.keep_impressions = '{_in_hours(kept)}' is too short: windows.late = {self.windows.late} has "
                f"impressions extracted until they are {_in_hours(needed)} old; keep them so long, or longer"
            )
        return self

    @classmethod
    def settings_customise_sources(
        cls,
        settings_cls: type[BaseSettings],
        init_settings: PydanticBaseSettingsSource,
        env_settings: PydanticBaseSettingsSource,
        dotenv_settings: PydanticBaseSettingsSource,
        file_secret_settings: PydanticBaseSettingsSource,
    ) -> tuple[PydanticBaseSettingsSource, ...]:
        return env_settings, init_settings

    @property
    def lake(self) -> Path:
        return self.project.root / "lake"

    @property
    def store_url(self) -> str:
        """The store's address, which may hold a password; a folder's starts at the root.

        Raises ConfigError for a store of another kind.
        """
        scheme, _, rest = self.store.url.partition(":")
        if scheme in ("redis", "rediss") and rest.startswith("//"):
            return self.store.url
        if scheme != "file" or not rest:
            raise ConfigError(
                "store.url must be 'file:FOLDER', a folder under project.root, or 'redis://HOST:PORT/0'; "
                f"'{scheme}:...' is not read"
            )
        return f"file:{self.project.root / rest}"

    @property
    def tracking_uri(self) -> str:
        """MLflow's address: `tracking.uri`, else MLFLOW_TRACKING_URI, else that of a SQLite file under the root."""
        return self.tracking.uri or os.environ.get("MLFLOW_TRACKING_URI") or sqlite_url(self.project.root / "mlflow.db")


def load(path: Path) -> Settings:
    """Reads one TOML file. Raises ConfigError naming the file or the variable, the key and the way out."""
    try:
        raw = tomllib.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError:
        raise ConfigError(f"no config file at {path}; `recsys-text init` writes one") from None
    except (OSError, UnicodeDecodeError, tomllib.TOMLDecodeError) as error:
        raise ConfigError(f"{path} is not readable as TOML: {error}") from None
    folder = path.absolute().parent
    check_overrides(Settings, ENV_PREFIX)
    _refuse_password(raw, path)
    try:
        settings = Settings(**expand(raw))
    except SettingsError as error:
        raise ConfigError(explain_override(error, ENV_PREFIX)) from None
    except ValidationError as error:
        raise ConfigError(f"{path}: {explain(error, Settings)}") from None
    project = settings.project.model_copy(update={"root": folder / settings.project.root})
    sources = settings.sources.model_copy(
        update={
            name: source.model_copy(
                update={
                    "path": source.path and _from_folder(source.path, folder),
                    "uri": source.uri and _uri_from_folder(source.uri, folder),
                }
            )
            for name, source in settings.sources
            if source is not None
        }
    )
    tracking = Tracking(uri=settings.tracking.uri and _tracking_from_folder(settings.tracking.uri, folder))
    return settings.model_copy(update={"project": project, _SOURCES: sources, "tracking": tracking})


def _in_hours(span: timedelta) -> str:
    return f"{span / timedelta(hours=1):g}h"


def _refuse_password(raw: dict[str, Any], path: Path) -> None:
    """Raises ConfigError where the file itself holds the store's password, which is then in every copy of it."""
    section = raw.get("store")
    url = section.get("url") if isinstance(section, dict) else None
    if not isinstance(url, str) or not url.startswith(("redis:", "rediss:")):
        return
    login = re.search(r"//[^:@]*:(.*)@", url)
    secrets = [login[1] if login else "", *re.findall(r"[?&]\w*password=([^&]*)", url)]
    if any(secret and not re.fullmatch(r"\$\{\w+\}", secret) for secret in secrets):
        raise ConfigError(
            f"{path}: store.url holds a password; write ${{REDIS_PASSWORD}} in its place and set that environment "
            f"variable, or give the whole address in {ENV_PREFIX}STORE__URL"
        )


def _from_folder(path: str, folder: Path) -> str:
    return path if "://" in path else str(folder / path)


def _uri_from_folder(uri: str, folder: Path) -> str:
    """A database that is a file starts at the folder as every path does: three slashes, then the path itself."""
    scheme, separator, path = uri.partition(":///")
    in_file = scheme.partition("+")[0] in ("sqlite", "duckdb") and separator and path
    return f"{scheme}:///{folder / path}" if in_file else uri


def _tracking_from_folder(uri: str, folder: Path) -> str:
    """The address of MLflow; a file of SQLite and a plain folder start at the folder, and a server is as it is."""
    if found := re.fullmatch(r"(sqlite(?:\+\w+)?):///([^/:][^?]*)(\?.*)?", uri):
        scheme, path, options = found.groups(default="")
        base = sqlite_url(folder)
        return f"{base if base.startswith('sqlite+') else scheme + base.removeprefix('sqlite')}/{path}{options}"
    if re.match(r"\w[\w+-]*:|databricks|uc$", uri):
        return uri
    return str(folder / uri)
