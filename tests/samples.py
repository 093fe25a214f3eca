"""The values of metrics, over the labels that a test says nothing of."""

from prometheus_client import CollectorRegistry


def total(registry: CollectorRegistry, name: str, **labels: str) -> float | None:
    """Return the sum of the samples of this name that have these labels among theirs; None where there are none."""
    found = [
        sample.value
        for family in registry.collect()
        for sample in family.samples
        if sample.name == name and labels.items() <= sample.labels.items()
    ]
    return sum(found) if found else None
