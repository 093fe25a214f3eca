"""What each version of a model has done since it was loaded: requests, runs by batch size, and the seconds of both.

`service/metrics.py` counts images and HTTP requests. Protocols with statistics want calls of a queue, and runs.
"""

import threading
import time
from collections.abc import Callable, Iterator, Sequence

from prometheus_client import Metric
from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily
from prometheus_client.registry import Collector, CollectorRegistry

REQUESTS = "foveal_model_requests"
REQUEST_SECONDS = "foveal_model_request_seconds"
STAGE_SECONDS = "foveal_model_stage_seconds"
RUNS = "foveal_model_runs"
RUN_SECONDS = "foveal_model_run_seconds"
LAST_RUN = "foveal_model_last_run_timestamp_seconds"

SUCCEEDED, FAILED = "succeeded", "failed"
REQUEST_STAGES = ("queue", "decode", "infer", "head")
RUN_STAGES = ("decode", "infer", "head")


class Runs:
    """The runs of one batch size, and the seconds of `RUN_STAGES`; those of a stage are of all images of a run."""

    __slots__ = ("count", "decode", "head", "infer")

    def __init__(self) -> None:
        self.count = 0
        self.decode = self.infer = self.head = 0.0


class VersionStatistics:
    """What one version of a model has done. Every number only ever grows.

    A request is a call of the queue: a video is a request for each of its frames.

    Attributes:
        successes, success_seconds: requests whose images were all answered, and from their acceptance to their answer.
        failures, failure_seconds: all other requests; those that the queue refused took no time.
        queue, decode, infer, head: seconds of the answered requests; of several images, the longest.
        last_run: when a batch ran last, in seconds of the Unix epoch; 0 before.
        by_size: the runs by the number of their images.
    """

    __slots__ = (
        *("_clock", "_lock", "by_size", "decode", "failure_seconds", "failures", "head"),
        *("infer", "last_run", "queue", "success_seconds", "successes"),
    )

    def __init__(self, clock: Callable[[], float] = time.time) -> None:
        self._clock = clock
        self._lock = threading.Lock()
        self.successes = self.failures = 0
        self.success_seconds = self.failure_seconds = 0.0
        self.queue = self.decode = self.infer = self.head = 0.0
        self.last_run = 0.0
        self.by_size: dict[int, Runs] = {}

    # On the event loop.

    def succeeded(
        self, seconds: float, queue: float, decode: float, infer: float, head: float
    ) -> None:
        """Count a request that was answered."""
        self.successes += 1
        self.success_seconds += seconds
        self.queue += queue
        self.decode += decode
        self.infer += infer
        self.head += head

    def failed(self, seconds: float) -> None:
        """Count a request that was not answered, or not for all of its images."""
        self.failures += 1
        self.failure_seconds += seconds

    # On worker threads.

    def ran(self, size: int, infer: float, decode: Sequence[float]) -> None:
        """Count a run of so many images, the seconds that it took, and those of the decoding of each image."""
        with self._lock:
            runs = self.by_size.get(size)
            if runs is None:
                runs = self.by_size[size] = Runs()
            runs.count += 1
            runs.infer += infer
            runs.decode += sum(decode)
            self.last_run = self._clock()

    def finished(self, heads: Sequence[tuple[int, float]]) -> None:
        """Count the seconds that the heads of images took, each with the size of its run; 0 is no run."""
        with self._lock:
            for size, seconds in heads:
                if size:
                    self.by_size[size].head += seconds

    def read_runs(self) -> list[tuple[int, int, tuple[float, ...]]]:
        """Return the size, the runs and the seconds of `RUN_STAGES` of each size, ascending."""
        with self._lock:
            return [
                (size, runs.count, (runs.decode, runs.infer, runs.head))
                for size, runs in sorted(self.by_size.items())
            ]


class ModelStatistics(Collector):
    """The statistics of all versions of all models, as metrics: several processes of a service add them up."""

    def __init__(self, registry: CollectorRegistry) -> None:
        self._versions: dict[tuple[str, str], VersionStatistics] = {}
        registry.register(self)

    def of_version(self, model: str, version: int) -> VersionStatistics:
        """Return the statistics of a version, which go on where it was loaded before."""
        return self._versions.setdefault((model, str(version)), VersionStatistics())

    def forget(self, model: str, version: int) -> None:
        """Show a version no more."""
        self._versions.pop((model, str(version)), None)

    def describe(self) -> list[Metric]:
        return list(self._families().values())

    def collect(self) -> Iterator[Metric]:
        families = self._families()
        for labels, one in tuple(self._versions.items()):
            _add_requests(families, labels, one)
            _add_runs(families, labels, one)
        yield from families.values()

    @staticmethod
    def _families() -> dict[str, Metric]:
        version = ("model", "version")
        return {
            REQUESTS: CounterMetricFamily(
                REQUESTS, "Calls of a version's queue, by outcome.", labels=(*version, "outcome")
            ),
            REQUEST_SECONDS: CounterMetricFamily(
                REQUEST_SECONDS,
                "Seconds that calls of a version took, by outcome.",
                labels=(*version, "outcome"),
            ),
            STAGE_SECONDS: CounterMetricFamily(
                STAGE_SECONDS,
                "Seconds of calls that succeeded in each stage: queue, decode, infer, head.",
                labels=(*version, "stage"),
            ),
            RUNS: CounterMetricFamily(
                RUNS, "Batches that ran, by their number of images.", labels=(*version, "images")
            ),
            RUN_SECONDS: CounterMetricFamily(
                RUN_SECONDS,
                "Seconds of the batches that ran, in each stage: decode, infer, head.",
                labels=(*version, "images", "stage"),
            ),
            LAST_RUN: GaugeMetricFamily(
                LAST_RUN, "When a version's last batch ran, as Unix time.", labels=version
            ),
        }


def _add_requests(
    families: dict[str, Metric], labels: tuple[str, str], one: VersionStatistics
) -> None:
    for outcome, count, seconds in (
        (SUCCEEDED, one.successes, one.success_seconds),
        (FAILED, one.failures, one.failure_seconds),
    ):
        families[REQUESTS].add_sample(*_sample(f"{REQUESTS}_total", labels, count, outcome=outcome))
        families[REQUEST_SECONDS].add_sample(
            *_sample(f"{REQUEST_SECONDS}_total", labels, seconds, outcome=outcome)
        )
    stages = (one.queue, one.decode, one.infer, one.head)
    for stage, seconds in zip(REQUEST_STAGES, stages, strict=True):
        families[STAGE_SECONDS].add_sample(
            *_sample(f"{STAGE_SECONDS}_total", labels, seconds, stage=stage)
        )


def _add_runs(families: dict[str, Metric], labels: tuple[str, str], one: VersionStatistics) -> None:
    families[LAST_RUN].add_sample(*_sample(LAST_RUN, labels, one.last_run))
    for size, count, seconds in one.read_runs():
        images = str(size)
        families[RUNS].add_sample(*_sample(f"{RUNS}_total", labels, count, images=images))
        for stage, spent in zip(RUN_STAGES, seconds, strict=True):
            families[RUN_SECONDS].add_sample(
                *_sample(f"{RUN_SECONDS}_total", labels, spent, images=images, stage=stage)
            )


def _sample(
    name: str, labels: tuple[str, str], value: float, **more: str
) -> tuple[str, dict[str, str], float]:
    model, version = labels
    return name, {"model": model, "version": version, **more}, value
