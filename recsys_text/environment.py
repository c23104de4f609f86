"""Environment variables in a configuration, and its faults in one line. Knows no section and no key."""

import difflib
import json
import os
import re
from typing import Any, get_args, get_origin

from pydantic import BaseModel, ValidationError
from pydantic_settings import SettingsError

from recsys_text.errors import ConfigError

_NAMED = re.compile(r"\$\{(\w+)\}")


def expand(value: Any) -> Any:
    """The value with each `${NAME}` in its texts replaced. Raises ConfigError for a variable that is not set."""
    if isinstance(value, dict):
        return {key: expand(item) for key, item in value.items()}
    if isinstance(value, list):
        return [expand(item) for item in value]
    return _NAMED.sub(_variable, value) if isinstance(value, str) else value


def unwritable(text: str) -> str | None:
    """Why a configuration cannot hold the text as it is; None where it can."""
    if named := _NAMED.search(text):
        return f"a config takes {named[0]} in it for an environment variable"
    try:
        text.encode()
    except UnicodeEncodeError:
        return "it is not UTF-8, as a config is"
    return None


def check_overrides(settings: type[BaseModel], prefix: str) -> None:
    """Raises ConfigError for a variable such as PREFIX_SECTION__KEY of which `settings` knows no section or key.

    Variables without a double underscore are not overrides: other parts of the project read them.
    """
    for variable in sorted(os.environ):
        path = variable.upper().removeprefix(prefix).lower().split("__")
        if not variable.upper().startswith(prefix) or len(path) == 1:
            continue
        model = settings
        for depth, name in enumerate(path):
            if name not in model.model_fields:
                near = difflib.get_close_matches(name, list(model.model_fields), n=1, cutoff=0.0)[0]
                meant = prefix + "__".join([*path[:depth], near, *path[depth + 1 :]]).upper()
                raise ConfigError(f"environment variable {variable} overrides no known key; did you mean {meant}?")
            section = _section(model.model_fields[name].annotation)
            if section is None:
                break
            model = section


def explain_override(error: SettingsError, prefix: str) -> str:
    """One line that names the variable whose text is not the JSON that its key needs."""
    cause = error.__cause__
    text = cause.doc if isinstance(cause, json.JSONDecodeError) else None
    names = [name for name, value in os.environ.items() if name.upper().startswith(prefix) and value == text]
    if not names:
        return str(error)
    return f"environment variable {' or '.join(sorted(names))} is not JSON; a list is written as [2, 3]"


def explain(error: ValidationError, settings: type[BaseModel]) -> str:
    """One line for the first fault: the key, what is wrong with it and the nearest known key."""
    fault = error.errors()[0]
    names = [str(part) for part in fault["loc"]]
    key = ".".join(names)
    if fault["type"] == "extra_forbidden":
        near = difflib.get_close_matches(names[-1], _known_keys(settings, names[:-1]), n=1, cutoff=0.0)
        hint = f"; did you mean '{'.'.join([*names[:-1], near[0]])}'?" if near else ""
        return f"unknown key '{key}'{hint}"
    if fault["type"] == "missing":
        return f"'{key}' is missing"
    message = fault["msg"].removeprefix("Value error, ")
    if not names:  # two sections that do not fit each other
        return message
    # A whole section may hold secrets, so it is named and not shown; so may an address before its host.
    if isinstance(fault["input"], dict):
        return f"'{key}': {message}"
    return f"'{key}' = {re.sub(r'://[^/]*@', '://', repr(fault['input']))}: {message}"


def _variable(match: re.Match[str]) -> str:
    value = os.environ.get(match[1])
    if value is None:
        raise ConfigError(f"the config names ${{{match[1]}}}, and no environment variable {match[1]} is set")
    return value


def _known_keys(model: type[BaseModel], path: list[str]) -> list[str]:
    steps = iter(path)
    for step in steps:
        annotation = model.model_fields[step].annotation
        if get_origin(annotation) is dict:
            # Sections that are named in the file: the next step is such a name.
            annotation = get_args(annotation)[1]
            next(steps)
        section = _section(annotation)
        assert section is not None
        model = section
    return list(model.model_fields)


def _section(annotation: Any) -> type[BaseModel] | None:
    """The model of a section, which may be optional; None where the key is no section."""
    if get_origin(annotation) is dict:
        return None
    kinds = [kind for kind in (annotation, *get_args(annotation)) if isinstance(kind, type)]
    return next((kind for kind in kinds if issubclass(kind, BaseModel)), None)
