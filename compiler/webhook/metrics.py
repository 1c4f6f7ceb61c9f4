"""The webhook's metrics, in a registry of their own."""

from typing import Final

from prometheus_client import CollectorRegistry, Counter, Histogram, generate_latest

CONTENT_TYPE: Final = "text/plain; version=0.0.4; charset=utf-8"
_SECONDS: Final = (0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0)


class WebhookMetrics:
    """All metrics of one webhook process; no label carries a name of a user."""

    def __init__(self) -> None:
        self._registry = registry = CollectorRegistry()
        self.requests = Counter(
            "kfp_driver_rewriter_requests", "Admission requests answered", ["outcome"], registry=registry
        )
        self.failures = Counter(
            "kfp_driver_rewriter_failures",
            "Admission requests without an answer: bodies that are no review, and bugs",
            registry=registry,
        )
        self.seconds = Histogram(
            "kfp_driver_rewriter_request_seconds",
            "Duration of an admission request, from its last byte to the answer",
            buckets=_SECONDS,
            registry=registry,
        )
        self.reloads = Counter(
            "kfp_driver_rewriter_reloads",
            "Files that changed and were read again",
            ["file", "outcome"],
            registry=registry,
        )

    def exposition(self) -> bytes:
        """All values in Prometheus's text format."""
        return generate_latest(self._registry)
