"""What Prometheus sees of the service. Knows requests and the served version, no route and no store.

Where PROMETHEUS_MULTIPROC_DIR is set, counters and latencies are those of all workers together; version and age are
those of the worker that answers.
"""

import logging
import os
from collections.abc import Callable, Iterable

from prometheus_client import CollectorRegistry, Counter, Histogram, generate_latest, values
from prometheus_client.metrics_core import GaugeMetricFamily, Metric
from prometheus_client.multiprocess import MultiProcessCollector
from prometheus_client.registry import Collector
from starlette.types import Scope

from recsys_text.service.views import Served

MULTIPROCESS_VARIABLE = "PROMETHEUS_MULTIPROC_DIR"

# Each route and status takes some two KiB of the file of a worker's latencies.
_FILE_BYTES = 1 << 18
_SECONDS = (0.0005, 0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5)


class Metrics:
    """Counters of one application, apart from any other in the process."""

    def __init__(self, served: Callable[[], Served | None]) -> None:
        together = _counts_together()
        counted = CollectorRegistry()
        self._seconds = Histogram(
            "recsys_text_request_seconds",
            "Requests and their latency by route and status.",
            ("route", "status"),
            buckets=_SECONDS,
            registry=counted,
        )
        self._errors = Counter(
            "recsys_text_reader_errors", "Failures of opening or reading the feature store.", registry=counted
        )
        self._dropped = Counter(
            "recsys_text_impressions_dropped", "Rankings that are in no file of the log.", registry=counted
        )
        self._children: dict[tuple[str, int], Histogram] = {}
        self._registry = counted
        if together:
            self._registry = CollectorRegistry()
            MultiProcessCollector(self._registry)  # type: ignore[no-untyped-call]
        self._registry.register(_Served(served))

    def observe(self, scope: Scope, status: int, seconds: float) -> None:
        """Counts one answer. The route's template is the label, since paths are as many as users."""
        labels = getattr(scope.get("route"), "path_format", "unmatched"), status
        child = self._children.get(labels)
        if child is None:
            child = self._children[labels] = self._seconds.labels(labels[0], str(status))
        child.observe(seconds)

    def count_error(self) -> None:
        self._errors.inc()

    def count_dropped(self, rows: int) -> None:
        self._dropped.inc(rows)

    def text(self) -> bytes:
        return generate_latest(self._registry)


def _counts_together() -> bool:
    """Whether this worker counts together with others; where their folder cannot be written, it counts for itself.

    The library looks at the variable once, when it is loaded: one that was set later, as Feast does where it is
    imported, makes no file that could be read here.
    The library maps files to memory that it does not fill: where the disk is full by the time that it counts something,
    the system kills the worker. So their room is taken here, where a failure can be told.
    """
    folder = os.environ.get(MULTIPROCESS_VARIABLE)
    if not folder or values.ValueClass is values.MutexValue:
        return False
    try:
        os.makedirs(folder, exist_ok=True)
        for kind in ("counter", "histogram"):
            with open(os.path.join(folder, f"{kind}_{os.getpid()}.db"), "ab") as file:
                os.posix_fallocate(file.fileno(), 0, _FILE_BYTES)
    except OSError as error:
        logging.getLogger("uvicorn.error").warning(
            "cannot keep metrics in %s (%s): this worker's are those of its own requests", folder, error.strerror
        )
        values.ValueClass = values.MutexValue
        return False
    return True


class _Served(Collector):
    """Read when scraped, so that the age is of that moment."""

    def __init__(self, served: Callable[[], Served | None]) -> None:
        self._served = served

    def collect(self) -> Iterable[Metric]:
        info = GaugeMetricFamily("recsys_text_scores_info", "The version of the scores now served.", labels=["version"])
        age = GaugeMetricFamily("recsys_text_scores_age_seconds", "Time since the scores' as_of.")
        served = self._served()
        if served is not None:
            info.add_metric([served.version], 1)
            age.add_metric([], served.age_seconds)
        return [info, age]
