"""The metrics of several processes → one exposition, as if one process had counted everything."""

from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any, NamedTuple

from prometheus_client.core import Metric
from prometheus_client.registry import Collector
from prometheus_client.samples import Exemplar, Sample
from pydantic_core import from_json, to_json

ACROSS_PROCESSES: Mapping[str, Callable[[float, float], float]] = {
    "foveal_build_info": max,
    "foveal_model_last_run_timestamp_seconds": max,
    "foveal_model_info": max,
    "foveal_precision_agreement": max,
    "foveal_precision_speedup": max,
    "foveal_model_state": max,
    "foveal_refused_models": max,
    "foveal_storage_cache_bytes": max,
    "python_info": max,
    "foveal_model_ready": min,
    "foveal_storage_reachable": min,
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
            [_row(sample) for sample in family.samples],
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
    merged: dict[str, tuple[Metric, dict[Any, _Value]]] = {}
    for family in (family for part in parts for family in part):
        _, values = merged.setdefault(family.name, (family, {}))
        combine = ACROSS_PROCESSES.get(family.name)
        for sample in family.samples:
            series = (sample.name, tuple(sample.labels.items()))
            new = _Value(sample.value, sample.exemplar)
            known = values.get(series)
            values[series] = new if known is None else known.with_other(new, combine)
    return [
        _family(
            family.name,
            family.documentation,
            family.type,
            [(name, dict(labels), *value) for (name, labels), value in values.items()],
        )
        for family, values in merged.values()
    ]


class _Value(NamedTuple):
    """What one series says, of one process or of several."""

    value: float
    exemplar: Exemplar | None

    def with_other(
        self, other: "_Value", combine: Callable[[float, float], float] | None
    ) -> "_Value":
        """Return both as one, with the newer exemplar."""
        value = self.value + other.value if combine is None else combine(self.value, other.value)
        newest = max(
            (one.exemplar for one in (self, other) if one.exemplar is not None),
            key=lambda one: one.timestamp or 0.0,
            default=None,
        )
        return _Value(value, newest)


def _row(sample: Sample) -> tuple[object, ...]:
    row = (sample.name, sample.labels, sample.value)
    return row if sample.exemplar is None else (*row, tuple(sample.exemplar))


def _family(name: str, documentation: str, kind: str, samples: Iterable[Sequence[Any]]) -> Metric:
    """Return a family of samples: name, labels, value, and an exemplar where there is one."""
    family = Metric(name, documentation, kind)
    for sample_name, labels, value, *exemplars in samples:
        (exemplar,) = exemplars or (None,)
        family.add_sample(
            sample_name, labels, value, exemplar=None if exemplar is None else Exemplar(*exemplar)
        )
    return family
