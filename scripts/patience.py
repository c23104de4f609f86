"""Waits for as long as something goes on, however slow the machine is. Knows nothing of what it waits for."""

import time
from collections.abc import Callable

STALLED_S = 300.0
#: A look may cost an answer of a server.
LOOK_S = 5.0


class Patience:
    """Over once `progress`, anything that can be compared, has been the same for STALLED_S."""

    def __init__(self, progress: Callable[[], object]) -> None:
        self._progress = progress
        self._seen: object = None
        self._changed = self._looked = time.monotonic()

    def over(self) -> bool:
        now = time.monotonic()
        if now - self._looked >= LOOK_S:
            self._looked = now
            if (seen := self._progress()) != self._seen:
                self._seen, self._changed = seen, now
        return now - self._changed >= STALLED_S
