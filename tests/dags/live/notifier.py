"""A notifier whose messages can be read again."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from airflow.sdk import BaseNotifier


class FileNotifier(BaseNotifier):
    """Appends a line to a file."""

    template_fields: Sequence[str] = ("message",)

    def __init__(self, *, path: str, message: str) -> None:
        super().__init__()
        self.path = path
        self.message = message

    def notify(self, context: Any) -> None:
        with Path(self.path).open("a") as lines:
            lines.write(" ".join(self.message.split()) + "\n")
