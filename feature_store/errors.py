"""What can go wrong in a feature store, one class per way out. Knows no backend."""


class StoreError(Exception):
    """Any failure of a feature store; its message names the place and the way out."""


class InvalidInput(StoreError, ValueError):
    """A name, address, key, schema or batch that no store can take."""


class StoreUnavailable(StoreError):
    """The store cannot be reached or written: read-only, full, gone, locked. Worth trying again."""


class ForeignStore(StoreError):
    """The store belongs to another owner, whose versions nobody else may replace or take for their own."""


class EvictingServer(StoreError):
    """The server may drop rows by itself when it's full, so that a store can't stand on it."""


class UnknownVersion(StoreError, LookupError):
    """No such version, or a view that has none published yet."""


def not_staged(view: str, version: str, place: object) -> UnknownVersion:
    """What is raised where a version is written or committed that is not staged."""
    return UnknownVersion(
        f"version '{version}' of view '{view}' isn't staged in {place}: it was never begun, or the store has lost it; "
        "publish anew"
    )


class VersionExists(StoreError):
    """The version is already committed, and a committed version never changes."""


class VersionServed(StoreError):
    """The version is the one being served, so it cannot be deleted."""


class OlderVersion(StoreError):
    """The version holds older data than the one served; only a rollback goes backwards."""


class IncompleteVersion(StoreError):
    """The staged parts are not exactly those expected, or do not fit together."""


class DuplicateKey(IncompleteVersion):
    """A key occurs twice in the staged version."""


class RefusedVersion(StoreError):
    """The version breaks a rule of its commit, so it isn't served; it waits to be looked at."""


class CorruptVersion(StoreError):
    """Bytes on disk are not those that were written."""
