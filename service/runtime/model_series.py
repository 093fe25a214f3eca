"""The metrics that show the models as they come and go: what they show is read at each scrape."""

from collections.abc import Callable

from service.metrics import Metrics, ModelMetrics
from service.runtime.model import Model


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
