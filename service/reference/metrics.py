"""The reference of the metrics as Markdown, made from the metrics themselves."""

from collections.abc import Iterator, Sequence

from prometheus_client import Metric
from prometheus_client.metrics import MetricWrapperBase

from service.metrics import Metrics
from service.reference.markdown import cell, table

HEADER = """# Metrics

Made from `service/metrics.py` by `make reference`; do not edit.

`GET /metrics` gives them in Prometheus' text form. Label values come from loaded models and route templates only. There
are also `process_*` and `python_*`.
"""


def reference() -> str:
    """Return a row for each metric: its name, type, labels and meaning."""
    rows = sorted(_row(family, labels) for family, labels in _families(Metrics()))
    return "\n".join([HEADER, *table(("metric", "type", "labels", "meaning"), rows)])


def _families(metrics: Metrics) -> Iterator[tuple[Metric, Sequence[str]]]:
    """Yield each family of ours with its labels, which a family without samples does not state."""
    for collector in list(metrics.registry._collector_to_names):  # noqa: SLF001 - there is no other list of them
        for family in getattr(collector, "describe", tuple)():
            if family.name.startswith("foveal_"):
                labeled = collector if isinstance(collector, MetricWrapperBase) else family
                yield family, labeled._labelnames  # noqa: SLF001


def _row(family: Metric, labels: Sequence[str]) -> tuple[str, ...]:
    name = family.name + ("_total" if family.type == "counter" else "")
    return (
        f"`{name}`",
        family.type,
        ", ".join(f"`{one}`" for one in labels),
        cell(family.documentation),
    )
