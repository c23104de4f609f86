"""Runs, registered bundles and their aliases in MLflow: the only package that imports it. Knows no data."""

import os

# MLflow reads these when it is imported. Seven retries of two minutes each would hide a dead server for an hour.
os.environ.setdefault("MLFLOW_DISABLE_TELEMETRY", "true")
os.environ.setdefault("MLFLOW_HTTP_REQUEST_MAX_RETRIES", "2")
os.environ.setdefault("MLFLOW_HTTP_REQUEST_TIMEOUT", "20")
os.environ.setdefault("MLFLOW_ENABLE_ARTIFACTS_PROGRESS_BAR", "false")

from recsys_text.tracking.environment import environment
from recsys_text.tracking.recorded import Recorded
from recsys_text.tracking.tracker import CHALLENGER, CHAMPION, Tracker

__all__ = ["CHALLENGER", "CHAMPION", "Recorded", "Tracker", "environment"]
