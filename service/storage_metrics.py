"""What is counted of models that come from a place elsewhere."""

from typing import Literal, get_args

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram

from service.errors import StorageFailure

Outcome = Literal["fetched", "cached", "kept"]

FETCH_SECONDS = (0.1, 0.3, 1.0, 3.0, 10.0, 30.0, 100.0, 300.0, 1000.0, 3600.0)


class StorageMetrics:
    """The series of one place of models; they stand at 0 where the models lie in a folder.

    Args:
        registry: what shows them; None: nothing does.
    """

    def __init__(self, registry: CollectorRegistry | None = None) -> None:
        registry = CollectorRegistry() if registry is None else registry
        self.versions = Counter(
            "foveal_storage_versions_total",
            "Versions that a look at the place of the models wanted, by outcome: fetched, cached (lay in the cache), "
            "kept (served from the cache though the place did not give it).",
            ("outcome",),
            registry=registry,
        )
        self.failures = Counter(
            "foveal_storage_failures_total",
            "Looks and fetches that failed, by reason: unreachable, denied (the credentials), slow, gone, changed "
            "(while it came), digest (not the pinned one), invalid (its card or certificate), cache_full, disk_full, "
            "disk.",
            ("reason",),
            registry=registry,
        )
        self.fetched_bytes = Counter(
            "foveal_storage_fetched_bytes_total",
            "Bytes of models that came from the place.",
            registry=registry,
        )
        self.fetch_seconds = Histogram(
            "foveal_storage_fetch_seconds",
            "How long a version took to come whole, with its checks.",
            buckets=FETCH_SECONDS,
            registry=registry,
        )
        self.cache_bytes = Gauge(
            "foveal_storage_cache_bytes",
            "Bytes of whole versions in the cache on this machine, at the last look.",
            registry=registry,
        )
        self.reachable = Gauge(
            "foveal_storage_reachable",
            "0 where the last look at the place of the models failed, else 1.",
            registry=registry,
        )
        self.reachable.set(1)
        for outcome in get_args(Outcome):
            self.versions.labels(outcome)
        for reason in get_args(StorageFailure):
            self.failures.labels(reason)

    def took(self, outcome: Outcome) -> None:
        """Count a version that can be served."""
        self.versions.labels(outcome).inc()

    def failed(self, reason: StorageFailure) -> None:
        """Count a look or a fetch that failed."""
        self.failures.labels(reason).inc()
