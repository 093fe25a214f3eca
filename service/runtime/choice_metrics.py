"""What was measured of the ways to serve a model, in the metrics."""

from collections.abc import Iterator

from prometheus_client import Gauge

from service.metrics import Metrics
from service.runtime.model import Model


def show_choice(metrics: Metrics, model: Model) -> None:
    """Set the series of a model's ways, of those of which something was measured."""
    for gauge, labels, figure in _series(metrics, model):
        gauge.labels(*labels).set(figure)


def hide_choice(metrics: Metrics, model: Model) -> None:
    """Remove the series of a model's ways."""
    for gauge, labels, _ in _series(metrics, model):
        gauge.remove(*labels)


def _series(metrics: Metrics, model: Model) -> Iterator[tuple[Gauge, tuple[str, ...], float]]:
    for way in model.choice.ways if model.choice else ():
        labels = (model.name, str(model.version), way.precision, way.device)
        if way.speedup is not None:
            yield metrics.precision_speedup, labels, way.speedup
        for name, figure in way.agreement.items():
            yield metrics.precision_agreement, (*labels, name), figure
