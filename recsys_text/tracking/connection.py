"""The way to one MLflow: its settings, whose default it is, and its failures as ours. Knows no run."""

import fcntl
import logging
import os
import re
import sqlite3
from collections.abc import Iterator
from contextlib import closing, contextmanager

import mlflow
from mlflow.exceptions import MlflowException
from sqlalchemy.exc import SQLAlchemyError

from recsys_text.errors import ConfigError, UnavailableError
from recsys_text.sqlite import sqlite_file

_URI = "MLFLOW_TRACKING_URI"
_OUT_OF_REACH = ("INTERNAL_ERROR", "TEMPORARILY_UNAVAILABLE")


class Connection:
    """Calls of MLflow belong into `with connection():`."""

    def __init__(self, uri: str) -> None:
        self._uri = uri
        # Alembic tells of each of its migrations; a user has no use for that.
        logging.getLogger("alembic").setLevel(logging.WARNING)
        logging.getLogger("mlflow").setLevel(logging.ERROR)

    @contextmanager
    def __call__(self) -> Iterator[None]:
        """MLflow with this project's server as its default, and its failures as ours.

        MLflow's default is global, and it also writes it to the environment, where the next project of this process
        would find it.
        """
        named = os.environ.get(_URI)
        mlflow.set_tracking_uri(self._uri)
        mlflow.set_registry_uri(self._uri)
        if named is None:
            os.environ.pop(_URI, None)
        else:
            os.environ[_URI] = named
        try:
            yield
        except (MlflowException, SQLAlchemyError, sqlite3.Error, OSError) as error:
            line = self._shown(str(error).strip().partition("\n")[0])
            uri = self._shown(self._uri)
            if not isinstance(error, MlflowException) or error.error_code in _OUT_OF_REACH:
                raise UnavailableError(f"MLflow at {uri} is out of reach: {line}") from error
            raise ConfigError(f"MLflow at {uri} refused: {line}") from error
        except ImportError as error:  # the driver of a database
            raise ConfigError(f"MLflow at {self._shown(self._uri)} needs a package: {error}") from error

    def _shown(self, text: str) -> str:
        """The text without the user and password of an address."""
        own = re.search(r"//(.*@)", self._uri)  # a password may hold any letter, also / and @
        return re.sub(r"//[^/\s]*@", "//", text.replace(own[1], "") if own else text)


@contextmanager
def creating(uri: str) -> Iterator[None]:
    """Lets one process at a time open a SQLite file: MLflow makes its tables without looking who else does."""
    database = sqlite_file(uri)
    if database is None:
        yield
        return
    database.parent.mkdir(parents=True, exist_ok=True)
    with database.with_name(f".{database.name}.lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        with closing(sqlite3.connect(database)) as file:
            file.execute("pragma schema_version")  # MLflow would try for minutes to open what cannot be opened
        yield
