"""What every backend asks of names and metadata, and which version a roll-back means. Knows no backend."""

import re
from collections.abc import Mapping, Sequence

from feature_store.base import VersionInfo
from feature_store.errors import ForeignStore, InvalidInput, UnknownVersion

_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._=-]{0,127}")


def check_name(what: str, name: str) -> str:
    """Returns a name that is safe as a file name. Raises InvalidInput for any other."""
    if not _NAME.fullmatch(name):
        raise InvalidInput(
            f"{what} '{name}' is no name; use letters, digits, '.', '_', '=' and '-', 128 at most, "
            "a letter or digit first"
        )
    return name


def check_owner(place: object, owner: str | None, found: str | None) -> None:
    """Raises ForeignStore where a store that somebody has claimed is opened for another owner; None is nobody."""
    if owner is not None and found is not None and found != owner:
        raise ForeignStore(
            f"the store in {place} belongs to '{found}', and this is '{owner}'; give each a store of its own: another "
            "folder, or in Redis another ?prefix="
        )


def check_metadata(version: str, metadata: Mapping[str, str]) -> None:
    """Raises InvalidInput for a key or a value that is no string."""
    wrong = {key: value for key, value in metadata.items() if not (isinstance(key, str) and isinstance(value, str))}
    if wrong:
        raise InvalidInput(f"metadata {wrong} of version '{version}' must be strings; convert them first")


def previous_version(view: str, place: object, served: str | None, infos: Sequence[VersionInfo]) -> str:
    """The version that was committed before the served one. Raises UnknownVersion where there's none."""
    # Where the served one's own manifest is damaged its place is unknown, and the newest other one is meant.
    sequence = next((info.sequence for info in infos if info.version == served and not info.problem), None)
    earlier = [
        info.version
        for info in infos
        if not info.problem and info.version != served and (sequence is None or info.sequence < sequence)
    ]
    if not earlier:
        raise UnknownVersion(f"view '{view}' has no version before '{served}' in {place} to go back to")
    return earlier[-1]
