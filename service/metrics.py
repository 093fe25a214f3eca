"""What the service counts, on a registry of its own; every label value comes from loaded models and route templates."""

from collections.abc import Callable, Collection, Iterable, Iterator
from functools import lru_cache

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram, Metric
from prometheus_client.core import GaugeMetricFamily
from prometheus_client.gc_collector import GCCollector
from prometheus_client.platform_collector import PlatformCollector
from prometheus_client.process_collector import ProcessCollector
from prometheus_client.registry import Collector

from service.model_statistics import ModelStatistics
from service.stage_times import StageTimes
from service.storage_metrics import StorageMetrics

SECONDS = (
    0.0005, 0.001, 0.002, 0.003, 0.005, 0.0075, 0.01, 0.015, 0.02, 0.03, 0.05, 0.075,
    0.1, 0.15, 0.2, 0.3, 0.5, 0.75, 1.0, 2.0, 5.0, 10.0, 30.0,
)  # fmt: skip
BATCH_SIZES = (1, 2, 3, 4, 6, 8, 12, 16, 24, 32, 48, 64, 96, 128)
LAG_SECONDS = (0.0005, 0.001, 0.002, 0.005, 0.01, 0.02, 0.05, 0.1, 0.2, 0.5, 1.0)
CACHE_OUTCOMES = ("hit", "joined", "miss")
MODEL_CHANGES = ("loaded", "refused", "removed", "asleep", "woken")
NO_ROOM_OUTCOMES = ("waited", "refused")
STAGES = ("decode", "queue", "infer", "head")
CLOSINGS = ("drained", "shared", "full", "delay")
DECODER_ENDS = ("crash", "memory", "time", "killed", "reply")
OUTCOMES = ("answered", "refused", "failed", "expired", "abandoned")
SPAN_OUTCOMES = ("sent", "failed", "dropped")
SHADOW_OUTCOMES = ("agreed", "differed", "failed", "dropped")

KEPT_VERSIONS = 16
"""So many versions that were removed keep what they counted; then the one that was removed first is forgotten.

The same holds for chains, and for names of which no version was ever served.
"""
KNOWN_SERIES = 4096
"""Series of requests whose labels are bound."""


class Metrics:
    """All series of one engine. Two engines in one process never share a counter."""

    def __init__(self) -> None:
        self.registry = CollectorRegistry()
        self._versions: dict[tuple[str, int], VersionMetrics] = {}
        self._removed: dict[tuple[str, int], None] = {}
        self._answered: dict[tuple[str, str], set[tuple[str, int]]] = {}
        self._chains: frozenset[str] = frozenset()
        self._removed_chains: dict[str, None] = {}
        self._unserved: dict[str, None] = {}
        self.of_request = lru_cache(KNOWN_SERIES)(self._find_request)
        """Takes a request's route, model, version and status; see `_find_request`."""
        ProcessCollector(registry=self.registry)
        PlatformCollector(registry=self.registry)
        GCCollector(registry=self.registry)
        self._add_processes()
        self._add_requests()
        self._add_images()
        self._add_cache()
        self._add_models()
        self.storage = StorageMetrics(self.registry)

    def _add_processes(self) -> None:
        self.build_info = self._gauge(
            "foveal_build_info",
            "Always 1; the versions that are running.",
            "version",
            "onnxruntime",
        )
        self.workers = self._gauge(
            "foveal_workers", "Processes that serve and answered this scrape."
        )
        self.worker_restarts = self._counter(
            "foveal_worker_restarts_total", "Processes that were started in place of a dead one."
        )
        self.replicas = self._gauge(
            "foveal_replicas",
            "On a Ray cluster: replicas that answered this scrape, by version; those of the ingress have no model.",
            "model",
            "version",
        )
        self.decoder_restarts = self._counter(
            "foveal_decoder_restarts_total",
            "Isolated decoder processes that ended before their image or video, by reason: crash, memory, time, "
            "killed, reply.",
            "reason",
        )
        for reason in DECODER_ENDS:
            self.decoder_restarts.labels(reason)
        self.spans = self._counter(
            "foveal_spans_total",
            "Spans of traces, by outcome: sent, failed (the collector did not take them), dropped (the queue was full, "
            "or the process ended).",
            "outcome",
        )
        self.event_loop_lag = self._histogram(
            "foveal_event_loop_lag_seconds",
            "How much later than planned the event loop woke up.",
            LAG_SECONDS,
        )

    def _add_requests(self) -> None:
        self.requests = self._counter(
            "foveal_requests_total", "Requests answered.", "route", "model", "version", "status"
        )
        self.request_seconds = self._histogram(
            "foveal_request_seconds",
            "From the first byte of a request's head to the last of its answer.",
            SECONDS,
            "route",
            "model",
            "version",
        )
        self.errors = self._counter(
            "foveal_errors_total", "Errors sent to clients.", "route", "code"
        )
        self.in_flight = self._gauge(
            "foveal_requests_in_flight", "Requests that are being answered."
        )
        self.request_bytes = self._counter(
            "foveal_request_bytes_total", "Bytes of request bodies read.", "route"
        )
        self.held_bytes = self._gauge(
            "foveal_held_body_bytes", "Bytes of bodies over 256 KiB that wait for their answer."
        )
        self.waiting_bodies = self._gauge(
            "foveal_waiting_bodies",
            "Bodies over 256 KiB that wait for their turn to be received, and requests whose images by URL do.",
        )

        self.accept_errors = self._counter(
            "foveal_accept_errors",
            "Times that no connection could be accepted, for want of file descriptors.",
        )
        self.unfinished_bytes = self._gauge(
            "foveal_unfinished_body_bytes",
            "Bytes of bodies, and of images by URL, that have begun to arrive and are not complete.",
        )

    def _add_images(self) -> None:
        self.stage_times = StageTimes(
            "foveal_stage_seconds",
            "Seconds that an image spent in a stage: decode, queue, infer, head.",
            SECONDS,
            STAGES,
            self.registry,
        )
        self.batch_size = self._histogram(
            "foveal_batch_size", "Images in a batch that ran.", BATCH_SIZES, "model", "version"
        )
        self.batches = self._counter(
            "foveal_batches_total",
            "Batches by why they closed: drained (took all), shared (left some for other workers), "
            "full, delay (waited max_delay_ms).",
            "model",
            "version",
            "closed",
        )
        self.images = self._counter(
            "foveal_images_total",
            "Images accepted into a queue, by outcome: answered, refused (bad images), failed, expired, abandoned.",
            "model",
            "version",
            "outcome",
        )
        self.video_frames = self._counter(
            "foveal_video_frames_total",
            "Frames of videos, by outcome: decoded, sampled (of these, given to a model), skipped (never decoded).",
            "outcome",
        )

    def _add_cache(self) -> None:
        self.cache_images = self._counter(
            "foveal_cache_images_total",
            "Images while the response cache is on, by outcome: hit, joined (ran for another request), miss.",
            "model",
            "outcome",
        )
        self.cache_bytes = self._gauge(
            "foveal_cache_bytes", "Bytes that the entries of the response cache hold."
        )
        self.cache_entries = self._gauge("foveal_cache_entries", "Answers in the response cache.")
        self.cache_evictions = self._counter(
            "foveal_cache_evictions_total",
            "Answers that the response cache dropped for newer ones.",
        )

    def _add_models(self) -> None:
        self.queue_depth = self._gauge(
            "foveal_queue_depth", "Images that wait for a batch.", "model", "version"
        )
        self.queue_capacity = self._gauge(
            "foveal_queue_capacity", "Images that may wait for a batch.", "model", "version"
        )
        self.stuck = self._counter(
            "foveal_stuck_batches_total",
            "Batches that did not end and were given up.",
            "model",
            "version",
        )
        self.macs = self._counter(
            "foveal_macs_total", "Multiply-accumulate operations executed.", "model", "version"
        )
        self.model_info = self._gauge(
            "foveal_model_info",
            "Always 1; how a model is served.",
            "model",
            "version",
            "task",
            "precision",
            "device",
        )
        self.precision_speedup = self._gauge(
            "foveal_precision_speedup",
            "With FOVEAL_PRECISION=fast: how many times as fast as fp32 a way to serve a model was.",
            *("model", "version", "precision", "device"),
        )
        self.precision_agreement = self._gauge(
            "foveal_precision_agreement",
            "With FOVEAL_PRECISION=fast: how far a way to serve a model agrees with fp32, by figure.",
            *("model", "version", "precision", "device", "figure"),
        )
        self.model_ready = self._gauge(
            "foveal_model_ready",
            "1 when loaded, warm and its last health check succeeded, or when it is asleep: a request loads it.",
            "model",
            "version",
        )

        self.model_changes = self._counter(
            "foveal_model_changes_total",
            "Versions that came and went: loaded, refused, removed, asleep (unloaded until a request comes), woken.",
            "model",
            "change",
        )
        self.no_room = self._counter(
            "foveal_model_no_room_total",
            "Times that FOVEAL_MODELS_MEMORY_BYTES had no room for a sleeping model: its loading waited for others, "
            "or a request that could not wait so long was refused.",
            "model",
            "outcome",
        )
        self.refused_models = self._gauge(
            "foveal_refused_models", "Files in the model repository that can not be served."
        )
        self.shadows = self._counter(
            "foveal_shadow_images_total",
            "Images that a shadow version ran too: agreed, differed, failed, or dropped under load.",
            "model",
            "version",
            "outcome",
        )
        self.version_states = VersionStates(self.registry)
        self.statistics = ModelStatistics(self.registry)

    def of_version(self, model: str, version: int) -> "VersionMetrics":
        """Return the series of a version; they are made at once, so that they stand at 0."""
        if (model, version) not in self._versions:
            self._versions[model, version] = VersionMetrics(self, model, version)
        return self._versions[model, version]

    def version_added(self, model: str, version: int) -> None:
        """Note that a version is served; where it was before, its series go on."""
        self._removed.pop((model, version), None)
        self._unserved.pop(model, None)
        self.of_version(model, version)

    def version_removed(self, model: str, version: int) -> None:
        """Note that a version is served no more; its series are dropped when `KEPT_VERSIONS` others were removed."""
        if (model, version) in self._versions:
            self._removed[model, version] = None
        while len(self._removed) > KEPT_VERSIONS:
            self._forget(*next(iter(self._removed)))

    def name_chains(self, names: Collection[str]) -> None:
        """Count the requests to these chains by name, and no more those to others."""
        for name in self._chains.difference(names):
            self._removed_chains[name] = None
        for name in names:
            self._removed_chains.pop(name, None)
        self._chains = frozenset(names)
        while len(self._removed_chains) > KEPT_VERSIONS:
            name = next(iter(self._removed_chains))
            del self._removed_chains[name]
            self._forget_requests(name)
        self.of_request.cache_clear()

    def model_changed(self, model: str, change: str) -> None:
        """Count that a version of a model came, went, fell asleep, was woken, or was refused."""
        self.model_changes.labels(model, change).inc()
        if not self._serves(model):
            self._unserved[model] = None
        while len(self._unserved) > KEPT_VERSIONS:
            self._forget_name(next(iter(self._unserved)))

    def _serves(self, model: str) -> bool:
        return any(name == model for name, _ in self._versions)

    def _find_request(
        self, route: str, model: str, version: int, status: int
    ) -> tuple[Counter, Histogram, Counter]:
        """Return what counts requests, their seconds and their bytes.

        Args:
            route: its template.
            model: its name, or that of a chain; empty where none was found.
            version: of the model; a chain has none. One that is forgotten counts as no model.
            status: of the response.
        """
        labels = ("", "")
        if (model, version) in self._versions:
            labels = (model, str(version))
        elif model in self._chains:
            labels = (model, "")
        if labels[0]:
            self._answered.setdefault(labels, set()).add((route, status))
        return (
            self.requests.labels(route, *labels, str(status)),
            self.request_seconds.labels(route, *labels),
            self.request_bytes.labels(route),
        )

    def _forget(self, model: str, version: int) -> None:
        labels = (model, str(version))
        del self._removed[model, version]
        self._versions.pop((model, version)).remove(self)
        self.of_request.cache_clear()
        self._forget_requests(*labels)
        for outcome in SHADOW_OUTCOMES:
            self.shadows.remove(*labels, outcome)
        self.statistics.forget(model, version)
        if not self._serves(model):
            self._forget_name(model)

    def _forget_requests(self, model: str, version: str = "") -> None:
        """Drop the requests to a version, or to a chain, which has none."""
        for route, status in self._answered.pop((model, version), ()):
            self.requests.remove(route, model, version, str(status))
            self.request_seconds.remove(route, model, version)

    def _forget_name(self, model: str) -> None:
        """Drop what is counted of all versions of a model together."""
        self._unserved.pop(model, None)
        for outcome in CACHE_OUTCOMES:
            self.cache_images.remove(model, outcome)
        for change in MODEL_CHANGES:
            self.model_changes.remove(model, change)
        for outcome in NO_ROOM_OUTCOMES:
            self.no_room.remove(model, outcome)

    def _counter(self, name: str, text: str, *labels: str) -> Counter:
        return Counter(name, text, labels, registry=self.registry)

    def _gauge(self, name: str, text: str, *labels: str) -> Gauge:
        return Gauge(name, text, labels, registry=self.registry)

    def _histogram(
        self, name: str, text: str, buckets: tuple[float, ...], *labels: str
    ) -> Histogram:
        return Histogram(name, text, labels, buckets=buckets, registry=self.registry)


class VersionStates(Collector):
    """The state of each version of each model, and the bytes that it holds."""

    def __init__(self, registry: CollectorRegistry) -> None:
        self._read: Callable[[], Iterable[tuple[str, int, str, int]]] = tuple
        registry.register(self)

    def show(self, read: Callable[[], Iterable[tuple[str, int, str, int]]]) -> None:
        """Show what a function returns at each scrape: name, version, state and bytes."""
        self._read = read

    def describe(self) -> list[Metric]:
        return list(self._families())

    def collect(self) -> Iterator[Metric]:
        states, sizes = self._families()
        for name, version, state, held in self._read():
            states.add_metric([name, str(version), state], 1.0)
            sizes.add_metric([name, str(version)], float(held))
        yield states
        yield sizes

    @staticmethod
    def _families() -> tuple[GaugeMetricFamily, GaugeMetricFamily]:
        return (
            GaugeMetricFamily(
                "foveal_model_state",
                "Always 1; the state of a version: loading, ready, asleep (not in memory, and loaded for a request), "
                "failed.",
                labels=("model", "version", "state"),
            ),
            GaugeMetricFamily(
                "foveal_model_memory_bytes",
                "Memory that a version holds, as measured when it was loaded.",
                labels=("model", "version"),
            ),
        )


class VersionMetrics:
    """The series of one version of a model with their labels bound, so that the hot path looks nothing up."""

    def __init__(self, metrics: Metrics, model: str, version: int) -> None:
        labels = (model, str(version))
        self.model, self.version = labels
        self._labels = labels
        self.stage_times = metrics.stage_times.of_version(*labels)
        """Takes the seconds of an image in the order of `STAGES`."""
        self.closed = {reason: metrics.batches.labels(*labels, reason) for reason in CLOSINGS}
        self.outcome = {outcome: metrics.images.labels(*labels, outcome) for outcome in OUTCOMES}
        self.batch_size = metrics.batch_size.labels(*labels)
        self.macs = metrics.macs.labels(*labels)
        self.stuck = metrics.stuck.labels(*labels)

    def remove(self, metrics: Metrics) -> None:
        """Remove them from the registry; whoever still counts is not seen any more."""
        metrics.stage_times.forget(*self._labels)
        for reason in CLOSINGS:
            metrics.batches.remove(*self._labels, reason)
        for outcome in OUTCOMES:
            metrics.images.remove(*self._labels, outcome)
        for family in (metrics.batch_size, metrics.macs, metrics.stuck):
            family.remove(*self._labels)
