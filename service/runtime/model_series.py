"""The metrics of each version, as the models come and go: what the gauges show is read at each scrape."""

from service.metrics import Metrics, VersionMetrics
from service.runtime.choice_metrics import hide_choice, show_choice
from service.runtime.model import Model


class ModelSeries:
    """The series of each version: its gauges while it is served, and what it has counted for some time after that.

    Args:
        metrics: where they are.
        capacity: images that may wait for one version.
        device: the name of the device that they run on.
    """

    def __init__(self, metrics: Metrics, capacity: int, device: str) -> None:
        self._metrics = metrics
        self._capacity = capacity
        self._device = device

    def of(self, model: Model) -> VersionMetrics:
        """Return the counters of a version."""
        return self._metrics.of_version(model.name, model.version)

    def begin(self, model: Model) -> VersionMetrics:
        """Return the counters of a version whose queue is made; where it was served before, they go on."""
        self._metrics.version_added(model.name, model.version)
        return self.of(model)

    def publish(self, model: Model) -> None:
        """Make the gauges of a version that is served from now on."""
        metrics, labels = self._metrics, (model.name, model.version)
        metrics.version_added(*labels)
        metrics.model_ready.labels(*labels).set_function(lambda: model.can_answer)
        metrics.queue_capacity.labels(*labels).set_function(lambda: self._capacity)
        metrics.queue_depth.labels(*labels).set_function(
            lambda: model.queue.depth if model.queue else 0
        )
        if model.queue is not None or model.wake is not None:
            self.show_info(model)

    def show_info(self, model: Model) -> None:
        """Show how a version that is served and was loaded is served."""
        self._metrics.model_info.labels(*self._info(model)).set(1)
        show_choice(self._metrics, model)

    def unpublish(self, model: Model) -> None:
        """Remove the gauges of a version; what was counted stays."""
        for gauge in (
            self._metrics.model_ready,
            self._metrics.queue_capacity,
            self._metrics.queue_depth,
        ):
            gauge.remove(model.name, model.version)
        self._metrics.model_info.remove(*self._info(model))
        hide_choice(self._metrics, model)

    def end(self, model: Model) -> None:
        """Let what a version counted go, once some others have gone after it."""
        self._metrics.version_removed(model.name, model.version)

    def changed(self, name: str, change: str) -> None:
        """Count that a version of a model came, went, fell asleep or was woken."""
        self._metrics.model_changed(name, change)

    def _info(self, model: Model) -> tuple[str, ...]:
        device = model.device or self._device
        return model.name, str(model.version), model.card.task, model.precision, device
