"""The metrics that show the models as they come and go: what they show is read at each scrape."""

from collections.abc import Callable, Iterator

from prometheus_client import Metric
from prometheus_client.core import GaugeMetricFamily
from prometheus_client.registry import Collector

from service.metrics import Metrics, ModelMetrics
from service.runtime.model import Model

STATE = "foveal_model_state"
BYTES = "foveal_model_memory_bytes"


class ModelSeries:
    """The series of each name, which has them while one of its versions is served.

    Args:
        metrics: where they are.
        capacity: images that may wait for one version.
        versions: returns the versions of a name.
    """

    def __init__(
        self, metrics: Metrics, capacity: int, versions: Callable[[str], tuple[Model, ...]]
    ) -> None:
        self._metrics = metrics
        self._capacity = capacity
        self._versions = versions
        self._series: dict[str, ModelMetrics] = {}

    def of(self, name: str) -> ModelMetrics:
        """Return the counters of a name; all its versions count together."""
        return self._series.get(name) or self._make(name)

    def publish(self, name: str) -> None:
        """Make the series of a name."""
        self._make(name)
        self._metrics.model_ready.labels(name).set_function(
            lambda: any(model.can_answer for model in self._versions(name))
        )
        self._metrics.queue_capacity.labels(name).set_function(
            lambda: self._capacity * len(self._versions(name))
        )

    def unpublish(self, name: str) -> None:
        """Remove the gauges of a name; what was counted stays."""
        for gauge in (
            self._metrics.model_ready,
            self._metrics.queue_capacity,
            self._metrics.queue_depth,
        ):
            gauge.remove(name)

    def _make(self, name: str) -> ModelMetrics:
        """Make the counters of a name, or take up those that it had before, and the gauge of its queues."""
        self._series[name] = self._metrics.of_model(
            name,
            lambda: sum(model.queue.depth for model in self._versions(name) if model.queue),
        )
        return self._series[name]


class ModelStates(Collector):
    """The state of each version, and the bytes that it holds."""

    def __init__(self, models: Callable[[], tuple[Model, ...]]) -> None:
        self._models = models

    def describe(self) -> list[Metric]:
        return list(self._families())

    def collect(self) -> Iterator[Metric]:
        states, sizes = self._families()
        for model in self._models():
            version = str(model.version)
            states.add_metric([model.name, version, model.state], 1.0)
            sizes.add_metric([model.name, version], float(model.memory_bytes))
        yield states
        yield sizes

    @staticmethod
    def _families() -> tuple[GaugeMetricFamily, GaugeMetricFamily]:
        return (
            GaugeMetricFamily(
                STATE,
                "Always 1; the state of a version: loading, ready, asleep, failed.",
                labels=("model", "version", "state"),
            ),
            GaugeMetricFamily(
                BYTES,
                "Memory that a version holds, as measured when it was loaded.",
                labels=("model", "version"),
            ),
        )
