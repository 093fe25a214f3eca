"""The metrics of several processes → one exposition, as if one process had counted everything."""

from collections.abc import Callable, Iterable, Mapping
from typing import Any

from prometheus_client.core import Metric
from prometheus_client.registry import Collector
from pydantic_core import from_json, to_json

ACROSS_PROCESSES: Mapping[str, Callable[[float, float], float]] = {
    "foveal_build_info": max,
    "foveal_model_last_run_timestamp_seconds": max,
    "foveal_model_info": max,
    "foveal_precision_agreement": max,
    "foveal_precision_speedup": max,
    "foveal_model_state": max,
    "foveal_refused_models": max,
    "python_info": max,
    "foveal_model_ready": min,
    "process_start_time_seconds": min,
}
"""How a metric family's values of two processes become one; those of all other families are added."""

LASTING = frozenset({"counter", "histogram"})
"""The types of metrics that still count after their process has ended."""


class Families(Collector):
    """Metric families, in the form that an encoder of the exposition takes."""

    def __init__(self, families: Iterable[Metric]) -> None:
        self._families = tuple(families)

    def collect(self) -> Iterable[Metric]:
        return self._families


def write_families(families: Iterable[Metric]) -> bytes:
    """Return the families as JSON, for another process to read."""
    rows = [
        (
            family.name,
            family.documentation,
            family.type,
            [(sample.name, sample.labels, sample.value) for sample in family.samples],
        )
        for family in families
    ]
    return to_json(rows, inf_nan_mode="constants")


def read_families(text: bytes) -> list[Metric]:
    """Return the families that `write_families` wrote.

    Raises:
        ValueError: the text is incomplete, or not from `write_families`.
    """
    return [_family(*row) for row in from_json(text)]


def lasting(families: Iterable[Metric]) -> list[Metric]:
    """Return the families that still count after their process has ended."""
    return [family for family in families if family.type in LASTING]


def merge(parts: Iterable[Iterable[Metric]]) -> list[Metric]:
    """Return one family for each name, with each series once; its value combines those of all processes."""
    merged: dict[str, tuple[Metric, dict[Any, float]]] = {}
    for family in (family for part in parts for family in part):
        _, values = merged.setdefault(family.name, (family, {}))
        combine = ACROSS_PROCESSES.get(family.name)
        for sample in family.samples:
            series = (sample.name, tuple(sample.labels.items()))
            if series not in values:
                values[series] = sample.value
            elif combine is None:
                values[series] += sample.value
            else:
                values[series] = combine(values[series], sample.value)
    return [
        _family(
            family.name,
            family.documentation,
            family.type,
            [(name, dict(labels), value) for (name, labels), value in values.items()],
        )
        for family, values in merged.values()
    ]


def _family(
    name: str, documentation: str, kind: str, samples: Iterable[tuple[str, dict[str, str], float]]
) -> Metric:
    family = Metric(name, documentation, kind)
    for sample in samples:
        family.add_sample(*sample)
    return family
