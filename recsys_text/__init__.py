"""recsys-text: per-user scores from item text and a click log. Knows its version, nothing else."""

from recsys_text.threads import share_the_machine

__version__ = "0.1.0"

share_the_machine()  # before any numeric library is loaded: later they no longer read it
