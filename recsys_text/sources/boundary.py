"""The one place where what a foreign library raises becomes an error of ours, in one line. Knows no formats."""

import codecs
import errno
import gzip
import re
from collections.abc import Iterator
from contextlib import contextmanager

import polars as pl

from recsys_text.errors import ConfigError, ContractError, RecsysTextError, UnavailableError

_LONGEST = 300
_WRONG_PATH = {errno.ENOENT, errno.ENOTDIR, errno.EISDIR, errno.EACCES, errno.EPERM, errno.ENAMETOOLONG}


@contextmanager
def foreign(what: str, kind: str) -> Iterator[None]:
    """Run a reader of `what` (shown to a user), which should be a file of this `kind`.

    Raises ConfigError for a path that cannot be opened, UnavailableError where another try may help, and ContractError
    for everything else that a reader can raise: whatever it is, its cause is in the data.
    """
    try:
        yield
    except (RecsysTextError, GeneratorExit, KeyboardInterrupt, SystemExit, AssertionError):
        raise
    except (FileNotFoundError, EOFError) as error:  # a file that is cut short may be one that is still written
        raise UnavailableError(f"reading {what} broke off: {one_line(error)}") from error
    except gzip.BadGzipFile as error:
        raise ContractError(
            f"{what} is not readable as {kind}: it is damaged, or not gzip: {one_line(error)}"
        ) from error
    except OSError as error:
        # Arrow raises an OSError without a number for a file that is damaged.
        if error.errno is None:
            raise ContractError(f"{what} is not readable as {kind}: {one_line(error)}") from error
        if error.errno in _WRONG_PATH:
            raise ConfigError(f"cannot open {what}: {error.strerror}") from error
        raise UnavailableError(f"reading {what} broke off: {one_line(error)}") from error
    except MemoryError as error:
        raise UnavailableError(f"reading {what} needs more memory than there is") from error
    except (Exception, pl.exceptions.PanicException) as error:  # a panic of Rust is no Exception
        raise ContractError(f"{what} is not readable as {kind}: {one_line(error)}") from error


def refuse_utf_16(start: bytes, shown: str) -> None:
    """Raises ContractError for a file of texts that begins as one in UTF-16 does."""
    if start.startswith((codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE)):
        raise ContractError(f"{shown} is written in UTF-16; save it as UTF-8")


def describe_path(path: str) -> str:
    """The path without what may be secret in an address: a user, a password, a query; on one line."""
    return printable(without_secrets(path.partition("?")[0]) if "://" in path else path)


def printable(text: str) -> str:
    """The text with what ends a line, or is no character, written as an escape."""
    return "".join(sign if sign.isprintable() else sign.encode("unicode_escape").decode() for sign in text)


def without_secrets(text: str) -> str:
    """The text with each address in it stripped of its user, password and query."""
    return re.sub(r"(://)(?:[^\s/?]*@)?([^\s?'\"]*)(?:\?[^\s'\"]*)?", r"\1\2", text)


def one_line(error: BaseException) -> str:
    """What an error says, in one line without secrets that is not too long."""
    words = printable(without_secrets(" ".join(str(error).split()))) or type(error).__name__
    return words if len(words) <= _LONGEST else f"{words[:_LONGEST]}..."
