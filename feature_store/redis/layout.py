"""Where everything of a view lies in Redis. The only code that knows these keys.

<prefix>owner                whose store it is
<prefix>views                set: the names of all views
<prefix>view:<view>          hash: `current`, `sequence`; `v:<version>`, `s:<version>` the id of a committed or staged
                             version; `r:<version>` the manifest of a staged one that its commit refused; `t:<id>`
                             of one that is removed once nobody has it open
<prefix>m:<id>               the manifest of a committed version; without it none of its rows count
<prefix>s:<id>, p:<id>       hash: the parts of a staged, a committed version
<prefix>d:<id>               list: the strings of the version, in pieces; a string's place is its code
<prefix>l:<id>               sorted set: who has the version open, by the second (of the server's clock) when that ends
<prefix>k:<id>:<token>       hash: the keys that one attempt at a part wrote, by number of the piece
<prefix><id>:<key>           a packed row

The id of a version is drawn anew whenever it is begun, so that a version that was deleted and published again, or
was lost with its server, is never taken for the other.
"""

import secrets
from dataclasses import dataclass

CURRENT = b"current"
SEQUENCE = b"sequence"


def new_id() -> str:
    """Eight letters that nobody else draws."""
    return secrets.token_urlsafe(6)


def owner_key(prefix: str) -> str:
    return f"{prefix}owner"


def views_key(prefix: str) -> str:
    return f"{prefix}views"


def view_key(prefix: str, view: str) -> str:
    return f"{prefix}view:{view}"


def committed(version: str) -> bytes:
    return b"v:" + version.encode()


def staged(version: str) -> bytes:
    return b"s:" + version.encode()


def refused(version: str) -> bytes:
    return b"r:" + version.encode()


def trash(uid: str) -> bytes:
    return b"t:" + uid.encode()


@dataclass(frozen=True, kw_only=True)
class VersionKeys:
    """The keys of one version."""

    prefix: str
    uid: str

    @property
    def manifest(self) -> str:
        return f"{self.prefix}m:{self.uid}"

    @property
    def staged_parts(self) -> str:
        return f"{self.prefix}s:{self.uid}"

    @property
    def committed_parts(self) -> str:
        return f"{self.prefix}p:{self.uid}"

    @property
    def strings(self) -> str:
        return f"{self.prefix}d:{self.uid}"

    @property
    def leases(self) -> str:
        return f"{self.prefix}l:{self.uid}"

    @property
    def rows(self) -> bytes:
        """What a row's key begins with."""
        return f"{self.prefix}{self.uid}:".encode()

    def written(self, token: str) -> str:
        return f"{self.prefix}k:{self.uid}:{token}"
