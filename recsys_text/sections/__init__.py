"""The sections of a config file: every key, its type, its default and what makes it refused. Reads no files."""

from recsys_text.sections.data import Candidates, Project, Source, Sources, Windows
from recsys_text.sections.learning import Blend, Evaluation, Model, Training
from recsys_text.sections.operating import Gate, Notifier, Schedule, Tracking
from recsys_text.sections.serving import Arm, Experiment, Publish, PublishChecks, Service, Store
from recsys_text.sections.watching import Alert

__all__ = [
    "Alert",
    "Arm",
    "Blend",
    "Candidates",
    "Evaluation",
    "Experiment",
    "Gate",
    "Model",
    "Notifier",
    "Project",
    "Publish",
    "PublishChecks",
    "Schedule",
    "Service",
    "Source",
    "Sources",
    "Store",
    "Tracking",
    "Training",
    "Windows",
]
