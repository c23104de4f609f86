"""What the versions of a view say of themselves. Changes nothing."""

from collections.abc import Callable, Mapping
from datetime import UTC, datetime, timedelta

from feature_store.base import VersionInfo
from feature_store.errors import CorruptVersion, UnknownVersion
from feature_store.redis.connection import Server
from feature_store.redis.layout import VersionKeys, committed, refused, staged
from feature_store.redis.manifest import Manifest
from feature_store.redis.snapshot import read_manifest

_UNKNOWN = datetime.fromtimestamp(0, UTC)


def committed_ids(state: Mapping[bytes, bytes]) -> dict[str, str]:
    """The ids of committed versions by name."""
    return {name: uid.decode() for name, uid in _by_name(state, committed("")).items()}


def infos_of(server: Server, view: str, state_now: Callable[[], Mapping[bytes, bytes]]) -> list[VersionInfo]:
    """Store.versions; `state_now` reads the view."""
    state = state_now()
    infos = list(refusals(server, view, state).values())
    for name, uid in committed_ids(state).items():
        try:
            infos.append(read_manifest(server, uid).info)
        except (CorruptVersion, UnknownVersion) as error:
            # It may have been removed meanwhile, which is no damage.
            if state_now().get(committed(name)) == uid.encode():
                infos.append(_damaged(view, name, error))
    return sorted(infos, key=lambda info: (info.sequence, info.version))


def untouched(server: Server, state: Mapping[bytes, bytes]) -> dict[str, timedelta]:
    """Store.staged. Whoever writes looks at the parts, and Redis knows when that was; zero where there is no part."""
    idle = {}
    for name, uid in sorted(_by_name(state, staged("")).items()):
        if refused(name) not in state:
            seconds = server.client.object("idletime", VersionKeys(prefix=server.prefix, uid=uid.decode()).staged_parts)
            idle[name] = timedelta(seconds=seconds or 0)
    return idle


def refusals(server: Server, view: str, state: Mapping[bytes, bytes]) -> dict[str, VersionInfo]:
    """What the commit said of each version that it refused, by name."""
    infos = {}
    for name, content in _by_name(state, refused("")).items():
        try:
            infos[name] = Manifest.unseal(content, server.place).info
        except CorruptVersion as error:
            infos[name] = _damaged(view, name, error, refused=True)
    return infos


def _by_name(state: Mapping[bytes, bytes], prefix: bytes) -> dict[str, bytes]:
    return {name.removeprefix(prefix).decode(): value for name, value in state.items() if name.startswith(prefix)}


def _damaged(view: str, version: str, error: Exception, *, refused: bool = False) -> VersionInfo:
    return VersionInfo(
        view=view,
        version=version,
        created_at=_UNKNOWN,
        rows=0,
        bytes=0,
        sequence=0,
        problem=str(error),
        refused=refused,
    )
