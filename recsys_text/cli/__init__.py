"""The command line: each module gives the application its commands. Knows no table and no model."""

import logging
import sys
from typing import NoReturn

from recsys_text.cli import data, lake, models, reports, scores  # noqa: F401 - importing them makes the commands
from recsys_text.cli.app import app, err
from recsys_text.errors import ConfigError, RecsysTextError, UnavailableError

#: The extra that brings a package which some commands need.
_EXTRAS = {
    **dict.fromkeys(
        ("jinja2", "lightgbm", "mlflow", "safetensors", "scipy", "sklearn", "tokenizers", "torch"), "train"
    ),
    **dict.fromkeys(("fastapi", "prometheus_client", "uvicorn"), "serve"),
    "optuna": "tune",
}


def _fail(line: str, code: int) -> NoReturn:
    err.print(f"error: {line}", style="red", markup=False, highlight=False, soft_wrap=True)
    sys.exit(code)


def main(arguments: list[str] | None = None) -> None:
    """Entry point of the console script; turns a RecsysTextError into one line and its exit code."""
    logging.basicConfig(format="%(levelname)s: %(message)s")
    try:
        app(arguments)
    except RecsysTextError as error:
        _fail(str(error), error.exit_code)
    except ModuleNotFoundError as error:
        extra = _EXTRAS.get((error.name or "").partition(".")[0])
        if extra is None:
            raise
        _fail(f"this command needs {error.name}: pip install 'recsys-text[{extra}]'", ConfigError.exit_code)
    except OSError as error:
        _fail(str(error), UnavailableError.exit_code)
    except KeyboardInterrupt:
        err.print("stopped")
        sys.exit(130)
