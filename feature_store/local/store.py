"""The local backend: versions of views in a folder, one publisher at a time. Knows no row."""

import secrets
import shutil
from collections.abc import Collection, Iterator, Mapping, Sequence
from contextlib import contextmanager
from datetime import UTC, datetime, timedelta
from os import PathLike
from pathlib import Path

from feature_store.base import VersionInfo
from feature_store.errors import (
    CorruptVersion,
    InvalidInput,
    RefusedVersion,
    UnknownVersion,
    VersionExists,
    VersionServed,
    not_staged,
)
from feature_store.local.commit import commit_stage, recover
from feature_store.local.disk import locked, make_folder, reaching, rename_folder
from feature_store.local.hold import open_held, unread
from feature_store.local.layout import LOCK, ViewFolder, load_owner, save_owner
from feature_store.local.manifest import load_pointer, save_pointer
from feature_store.local.reader import LocalReader, open_served
from feature_store.local.snapshot import LocalSnapshot
from feature_store.local.stage import LocalStage, untouched
from feature_store.local.verify import verify_version
from feature_store.rules import check_metadata, check_owner, previous_version
from feature_store.validate import Checks


class LocalStore:
    """A feature store in a folder of one machine. See Store for what each method promises.

    `follow_seconds` is how often readers look for a swap; `lock_seconds` is how long a publisher
    waits for another one before it gives up with StoreUnavailable. `owner` is as `open_store` says.
    """

    def __init__(
        self,
        root: str | PathLike[str],
        *,
        owner: str | None = None,
        follow_seconds: float = 0.2,
        lock_seconds: float = 600.0,
    ) -> None:
        self.root = Path(root)
        self._owner = owner
        self._follow_seconds = follow_seconds
        self._lock_seconds = lock_seconds

    def begin(self, view: str, version: str) -> LocalStage:
        folder = self._folder(view)
        folder.version(version)
        self._claim()
        make_folder(folder.staging)
        with self._publishing(folder):
            self._refuse_committed(folder, version)
            make_folder(folder.staged(version))
        return LocalStage(folder, version, self._lock_seconds)

    def stage(self, view: str, version: str) -> LocalStage:
        folder = self._folder(view)
        self._refuse_committed(folder, version)
        if not folder.staged(version).is_dir():
            raise not_staged(view, version, folder.staged(version))
        return LocalStage(folder, version, self._lock_seconds)

    def commit(
        self,
        view: str,
        version: str,
        *,
        expect_parts: Sequence[str],
        metadata: Mapping[str, str],
        checks: Checks | None = None,
    ) -> VersionInfo:
        folder = self._folder(view)
        check_metadata(version, metadata)
        self._need(folder)
        with self._publishing(folder):
            sequence = 1 + max((info.sequence for info in self.versions(view)), default=0)
            return commit_stage(folder, version, expect_parts, metadata, sequence, checks or Checks())

    def views(self) -> list[str]:
        with reaching(self.root, "list"):
            try:
                paths = list(self.root.iterdir())
            except FileNotFoundError:
                return []
        # Whatever else is in the folder, a view has a lock.
        return sorted(path.name for path in paths if (path / LOCK).is_file())

    def current(self, view: str) -> str | None:
        return load_pointer(self._folder(view).current)

    def versions(self, view: str) -> list[VersionInfo]:
        folder = self._folder(view)
        if not folder.path.is_dir():
            return []
        with reaching(folder.path, "list"):
            names = [path.name for path in folder.path.iterdir() if path.is_dir() and not path.name.startswith(".")]
        unfinished = folder.unfinished()
        found = [self._info(folder, name) for name in names if name != unfinished]
        infos = [info for info in found if info is not None]
        infos += [manifest.info for manifest in folder.refusals().values()]
        return sorted(infos, key=lambda info: (info.sequence, info.version))

    def staged(self, view: str) -> dict[str, timedelta]:
        folder = self._folder(view)
        names = set(folder.stages()) - set(folder.refusals())
        found = {name: untouched(folder.staged(name)) for name in sorted(names)}
        return {name: idle for name, idle in found.items() if idle is not None}

    def rollback(self, view: str, version: str | None = None) -> VersionInfo:
        folder = self._folder(view)
        self._need(folder)
        with self._publishing(folder):
            if version is None:
                served = load_pointer(folder.current)
                version = previous_version(view, folder.path, served, self.versions(view))
            info = LocalSnapshot(self._committed(folder, version)).info
            save_pointer(folder.current, version)
        return info

    def delete(self, view: str, version: str) -> None:
        folder = self._folder(view)
        self._need(folder)
        with self._publishing(folder):
            if version == load_pointer(folder.current):
                raise VersionServed(
                    f"version '{version}' of view '{view}' is being served; publish or roll back to another one first"
                )
            found = [path for path in (folder.version(version), folder.staged(version)) if path.is_dir()]
            if not found:
                raise UnknownVersion(f"view '{view}' has no version '{version}' in {folder.path}")
            for path in found:
                self._discard(folder, path)

    def prune(self, view: str, keep: int, *, spare: Collection[str] = ()) -> list[str]:
        if keep < 1:
            raise InvalidInput(f"keep {keep} would leave no version of view '{view}'; keep one at least")
        folder = self._folder(view)
        self._need(folder)
        with self._publishing(folder):
            stay = {load_pointer(folder.current), *spare}
            refused = set(folder.refusals())
            committed = [info.version for info in self.versions(view) if info.version not in refused]
            removed = [name for name in committed[:-keep] if name not in stay and self._discard_unread(folder, name)]
            for name in [info.version for info in self.versions(view) if info.version in refused][:-keep]:
                if name not in stay:
                    self._discard(folder, folder.staged(name))
                    removed.append(name)
        return removed

    def reader(self, view: str) -> LocalReader:
        return LocalReader(self._folder(view), self._follow_seconds)

    def snapshot(self, view: str, version: str | None = None) -> LocalSnapshot:
        folder = self._folder(view)
        if version is None:
            return open_served(folder)
        return open_held(self._committed(folder, version))

    def verify(self, view: str, version: str | None = None) -> VersionInfo:
        folder = self._folder(view)
        version = load_pointer(folder.current) if version is None else version
        if version is None:
            raise UnknownVersion(f"view '{view}' has no published version in {folder.path}; publish one first")
        return verify_version(self._committed(folder, version))

    def _folder(self, view: str) -> ViewFolder:
        folder = ViewFolder(root=self.root, view=view)
        self._check_owner()
        return folder

    def _check_owner(self) -> None:
        if self._owner is not None:
            check_owner(self.root, self._owner, load_owner(self.root))

    def _claim(self) -> None:
        """Makes a store that is nobody's the owner's, once and for all.

        Raises ForeignStore where another has claimed it since this publisher looked.
        """
        if self._owner is None:
            return
        if load_owner(self.root) is None:
            make_folder(self.root)
            with locked(self.root / LOCK, self._lock_seconds):
                if load_owner(self.root) is None:
                    save_owner(self.root, self._owner)
        self._check_owner()

    @contextmanager
    def _publishing(self, folder: ViewFolder) -> Iterator[None]:
        """Holds the view's lock, after clearing away what a publisher left that died holding it."""
        with locked(folder.lock, self._lock_seconds):
            recover(folder)
            self._empty_trash(folder)
            yield

    def _committed(self, folder: ViewFolder, version: str) -> Path:
        """The folder of a committed version."""
        if folder.is_committed(version):
            return folder.version(version)
        if version in (refusals := folder.refusals()):
            raise RefusedVersion(
                f"version '{version}' of view '{folder.view}' was refused by its commit, it breaks the rule "
                f"{refusals[version].refused}. Its parts are in {folder.staged(version)}"
            )
        raise UnknownVersion(f"view '{folder.view}' has no committed version '{version}' in {folder.path}")

    def _need(self, folder: ViewFolder) -> None:
        if not folder.path.is_dir():
            raise UnknownVersion(f"there's no view '{folder.view}' in {self.root}; publish a version of it first")

    def _refuse_committed(self, folder: ViewFolder, version: str) -> None:
        if folder.is_committed(version):
            raise VersionExists(
                f"version '{version}' of view '{folder.view}' is committed in {folder.version(version)} and never "
                "changes; publish under another name, or delete it first"
            )

    def _info(self, folder: ViewFolder, version: str) -> VersionInfo | None:
        """None for a version that another process deletes meanwhile, which is no damaged one."""
        try:
            return folder.manifest(version).info
        except CorruptVersion as error:
            path = folder.version(version)
            with reaching(path, "read"):
                try:
                    created_at = datetime.fromtimestamp(path.stat().st_mtime, UTC)
                except FileNotFoundError:
                    return None
            return VersionInfo(
                view=folder.view,
                version=version,
                created_at=created_at,
                rows=0,
                bytes=0,
                sequence=0,
                problem=str(error),
            )

    def _discard(self, folder: ViewFolder, path: Path) -> None:
        """Moves a version out of sight at once, then removes it: it's never half there."""
        make_folder(folder.trash)
        rename_folder(path, folder.trash / secrets.token_hex(6))
        self._empty_trash(folder)

    def _discard_unread(self, folder: ViewFolder, version: str) -> bool:
        """Removes a version that no reader has open; whether it did."""
        with unread(folder.version(version)) as free:
            if free:
                self._discard(folder, folder.version(version))
        return free

    def _empty_trash(self, folder: ViewFolder) -> None:
        if folder.trash.is_dir():
            with reaching(folder.trash, "remove"):
                shutil.rmtree(folder.trash)
