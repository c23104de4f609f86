"""What Prometheus sees of the service. Knows requests and the served version, no route and no store."""

from collections.abc import Iterable

from prometheus_client import CollectorRegistry, Histogram, generate_latest
from prometheus_client.metrics_core import CounterMetricFamily, GaugeMetricFamily, Metric
from prometheus_client.registry import Collector
from starlette.types import Scope

from recsys_text.service.scores import Scores

_SECONDS = (0.0005, 0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5)


class Metrics:
    """Counters of one application, apart from any other in the process."""

    def __init__(self, scores: Scores) -> None:
        self._registry = CollectorRegistry()
        self._seconds = Histogram(
            "recsys_text_request_seconds",
            "Requests and their latency by route and status.",
            ("route", "status"),
            buckets=_SECONDS,
            registry=self._registry,
        )
        self._registry.register(_Served(scores))

    def observe(self, scope: Scope, status: int, seconds: float) -> None:
        """Counts one answer. The route's template is the label, since paths are as many as users."""
        route = getattr(scope.get("route"), "path_format", "unmatched")
        self._seconds.labels(route, str(status)).observe(seconds)

    def text(self) -> bytes:
        return generate_latest(self._registry)


class _Served(Collector):
    """Read when scraped, so that the age is of that moment."""

    def __init__(self, scores: Scores) -> None:
        self._scores = scores

    def collect(self) -> Iterable[Metric]:
        info = GaugeMetricFamily("recsys_text_scores_info", "The version of the scores now served.", labels=["version"])
        age = GaugeMetricFamily("recsys_text_scores_age_seconds", "Time since the scores' as_of.")
        errors = CounterMetricFamily("recsys_text_reader_errors", "Failures of opening or reading the feature store.")
        served = self._scores.served
        if served is not None:
            info.add_metric([served.version], 1)
            age.add_metric([], served.age_seconds)
        errors.add_metric([], self._scores.errors)
        return [info, age, errors]
