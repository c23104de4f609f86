"""What may be wrong with a user's data, rule by rule, in plain words. Knows frames and logs, no lake."""

from recsys_text.evaluation.checks.finding import Finding, Level

__all__ = ["Finding", "Level"]
