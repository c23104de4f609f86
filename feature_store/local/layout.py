"""Where everything lies on disk. The only code that knows these paths.

<root>/.owner                       whose store it is
<root>/.lock                        one who claims it at a time
<root>/<view>/CURRENT               the version being served
<root>/<view>/<version>/            MANIFEST.json, <part>.<token>.arrow, index.bin
<root>/<view>/.staging/<version>/   parts that wait for their commit; MANIFEST.json where it refused them
<root>/<view>/.pending              the version being swapped in, should its commit die midway
<root>/<view>/.trash/               what is being deleted
<root>/<view>/.lock                 one publisher at a time
"""

from dataclasses import dataclass
from pathlib import Path

from feature_store.errors import CorruptVersion, InvalidInput
from feature_store.local.disk import reaching, write_atomic
from feature_store.local.manifest import Manifest, load_pointer
from feature_store.rules import check_name

MANIFEST = "MANIFEST.json"
INDEX = "index.bin"
LOCK = ".lock"
_OWNER = ".owner"


def load_owner(root: Path) -> str | None:
    """Who has claimed the store; None where nobody has yet."""
    path = root / _OWNER
    with reaching(path, "read"):
        try:
            return path.read_text(encoding="utf-8")
        except FileNotFoundError:
            return None


def save_owner(root: Path, owner: str) -> None:
    write_atomic(root / _OWNER, owner.encode())


@dataclass(frozen=True, kw_only=True)
class ViewFolder:
    """The paths of a view."""

    root: Path
    view: str

    def __post_init__(self) -> None:
        check_name("view", self.view)

    @property
    def path(self) -> Path:
        return self.root / self.view

    @property
    def current(self) -> Path:
        return self.path / "CURRENT"

    @property
    def pending(self) -> Path:
        return self.path / ".pending"

    @property
    def lock(self) -> Path:
        return self.path / LOCK

    @property
    def trash(self) -> Path:
        return self.path / ".trash"

    @property
    def staging(self) -> Path:
        return self.path / ".staging"

    def staged(self, version: str) -> Path:
        return self.staging / check_name("version", version)

    def version(self, version: str) -> Path:
        if version == self.current.name:
            raise InvalidInput(f"version '{version}' has the name of the pointer; choose another name")
        return self.path / check_name("version", version)

    def is_committed(self, version: str) -> bool:
        """True from the swap of CURRENT on; until then a version that is in place doesn't count."""
        return self.version(version).is_dir() and version != self.unfinished()

    def unfinished(self) -> str | None:
        """The version whose commit hasn't reached the swap of CURRENT, because it runs still or died."""
        pending = load_pointer(self.pending)
        return None if pending is None or pending == load_pointer(self.current) else pending

    def stages(self) -> list[str]:
        """The versions that are staged, refused ones too."""
        with reaching(self.staging, "list"):
            paths = self.staging.iterdir() if self.staging.is_dir() else ()
            return sorted(path.name for path in paths if path.is_dir())

    def refusals(self) -> dict[str, Manifest]:
        """What the commit said of each version that it refused, by name; any other staged version says nothing."""
        return {name: manifest for name in self.stages() if (manifest := self._refusal(name)) is not None}

    def _refusal(self, version: str) -> Manifest | None:
        try:
            manifest = Manifest.load(self.staging / version / MANIFEST)
        except CorruptVersion:
            return None  # Only its next commit will tell.
        return manifest if manifest.refused else None

    def manifest(self, version: str) -> Manifest:
        """Raises CorruptVersion when it's missing or damaged."""
        return Manifest.load(self.version(version) / MANIFEST)
