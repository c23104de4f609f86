"""What rendered templates say: texts, where an argument may be a number, a flag or nothing. Knows no Airflow."""

from typing import Any

from recsys_text.errors import ConfigError


def given(value: Any) -> Any:
    """The value, or None where a template found nothing, of which it makes an empty text or that of None."""
    return None if value in ("", "None") else value


def number(name: str, value: int | str | None) -> int | None:
    """A whole number, if one is given. Raises ConfigError for what is none, or negative."""
    found = given(value)
    if found is None or str(found).isdecimal():
        return None if found is None else int(found)
    raise ConfigError(f"{name}={found!r} is no whole number from 0 on; give one, or nothing")


def flag(name: str, value: bool | str) -> bool:
    """Whether it is true; nothing is not. Raises ConfigError for what is neither true nor false."""
    found = {"true": True, "false": False, "none": False}.get(str(given(value)).lower())
    if found is None:
        raise ConfigError(f"{name}={value!r} is neither true nor false; give one of the two")
    return found
