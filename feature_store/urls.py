"""The address of a store as it may be shown. Knows no backend."""

import re


def shown_url(url: str) -> str:
    """The URL without user, password and query, for messages and logs."""
    # A password may hold any letter, also / and @ and ?, so all up to the last @ goes first.
    return re.sub(r"//.*@", "//", url, flags=re.DOTALL).partition("?")[0]
