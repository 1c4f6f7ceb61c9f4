"""The service's metrics, in a registry of its own (``GET /metrics`` on the health port).

No label carries a run, task or pipeline name: the number of time series is bounded by the code.
"""

from enum import StrEnum
from typing import Final

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram, generate_latest

from driver_plugin.argo.driver_type import DriverType

CONTENT_TYPE: Final = "text/plain; version=0.0.4; charset=utf-8"

_SECONDS: Final = (0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 25.0, 60.0, 300.0)


class CacheOutcome(StrEnum):
    """Why a task's result comes from the cache or does not, as metrics and logs say it."""

    HIT = "hit"
    MISS = "miss"
    DISABLED = "disabled for the pipeline"
    NOT_ENABLED = "not enabled for the task"
    LOOKUP_FAILED = "lookup failed"
    REFUSED = "lookup refused"


class Metrics:
    """All counters of one service process."""

    def __init__(self) -> None:
        self._registry = registry = CollectorRegistry()
        self.calls = Counter(
            "kfp_driver_calls", "Driver calls that ended", ["type", "outcome"], registry=registry
        )
        self.call_seconds = Histogram(
            "kfp_driver_call_seconds",
            "Duration of the work of a driver call",
            ["type"],
            buckets=_SECONDS,
            registry=registry,
        )
        self.in_flight = Gauge("kfp_driver_calls_in_flight", "Driver calls at work", registry=registry)
        self.requeues = Counter(
            "kfp_driver_requeues", "Replies that asked Argo to call again", ["type"], registry=registry
        )
        self.joined = Counter(
            "kfp_driver_joined_calls",
            "Repeated calls that joined work in flight",
            ["type"],
            registry=registry,
        )
        self.refused = Counter(
            "kfp_driver_refused_requests", "Requests refused before any work", ["status"], registry=registry
        )
        self.outage_retries = Counter(
            "kfp_driver_outage_retries",
            "Driver calls tried again during an outage",
            ["type"],
            registry=registry,
        )
        self.api_requests = Counter(
            "kfp_driver_api_requests",
            "Requests to the KFP API",
            ["operation", "method", "status"],
            registry=registry,
        )
        self.api_retries = Counter(
            "kfp_driver_api_retries",
            "Requests to the KFP API that were repeats",
            ["operation"],
            registry=registry,
        )
        self.api_seconds = Histogram(
            "kfp_driver_api_request_seconds",
            "Duration of requests to the KFP API",
            ["operation"],
            buckets=_SECONDS,
            registry=registry,
        )
        self.cache_decisions = Counter(
            "kfp_driver_cache_decisions", "Cache decisions by reason", ["decision"], registry=registry
        )
        self.log_uploads = Counter("kfp_driver_log_uploads", "Driver logs uploaded", registry=registry)
        self.log_upload_failures = Counter(
            "kfp_driver_log_upload_failures", "Driver logs given up on", registry=registry
        )

        # A rate needs the zero before the first event.
        for kind in DriverType:
            self.call_seconds.labels(kind)
            for counter in (self.requeues, self.joined, self.outage_retries):
                counter.labels(kind)
            for outcome in ("succeeded", "failed", "running"):
                self.calls.labels(kind, outcome)
        for decision in CacheOutcome:
            self.cache_decisions.labels(decision)

    def exposition(self) -> bytes:
        """All values in Prometheus's text format."""
        return generate_latest(self._registry)

    def value(self, name: str, **labels: str) -> float:
        """One sample's value, 0 when it was never touched; ``name`` as in the exposition."""
        return self._registry.get_sample_value(name, labels) or 0.0
