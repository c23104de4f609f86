"""recsys-text: per-user scores from item text and a click log. Knows its version, nothing else."""

__version__ = "0.1.0"
