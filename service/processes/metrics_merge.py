"""Several processes' series → one exposition, as if one process had counted it all."""

from collections.abc import Callable, Iterable, Mapping
from typing import Any

from prometheus_client.core import Metric
from pydantic_core import from_json, to_json

ACROSS_PROCESSES: Mapping[str, Callable[[float, float], float]] = {
    "foveal_build_info": max,
    "foveal_model_info": max,
    "python_info": max,
    "foveal_model_ready": min,
    "process_start_time_seconds": min,
}
"""What is made of two processes' values of a family; of every other one the sum."""

LASTING = frozenset({"counter", "histogram"})
"""The types of what outlives the process that counted it."""


class Families:
    """Families of series, in the form that an exposition's encoder takes."""

    def __init__(self, families: Iterable[Metric]) -> None:
        self._families = tuple(families)

    def collect(self) -> Iterable[Metric]:
        return self._families


def write_families(families: Iterable[Metric]) -> bytes:
    """Return the families as JSON, for another process to read."""
    told = [
        (
            family.name,
            family.documentation,
            family.type,
            [(one.name, one.labels, one.value) for one in family.samples],
        )
        for family in families
    ]
    return to_json(told, inf_nan_mode="constants")


def read_families(told: bytes) -> list[Metric]:
    """Return what `write_families` wrote.

    Raises:
        ValueError: it is cut short, or something else.
    """
    return [_family(*one) for one in from_json(told)]


def lasting(families: Iterable[Metric]) -> list[Metric]:
    """Return the families that still count when their process has ended."""
    return [family for family in families if family.type in LASTING]


def total(parts: Iterable[Iterable[Metric]]) -> list[Metric]:
    """Return one family of each name, with each series once, its values put together."""
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
