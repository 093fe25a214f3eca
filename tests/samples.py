"""The values of metrics, over the labels that a test says nothing of."""

from prometheus_client import CollectorRegistry
from prometheus_client.openmetrics.parser import text_string_to_metric_families
from prometheus_client.samples import Sample


def total(registry: CollectorRegistry, name: str, **labels: str) -> float | None:
    """Return the sum of the samples of this name that have these labels among theirs; None where there are none."""
    found = [
        sample.value
        for family in registry.collect()
        for sample in family.samples
        if sample.name == name and labels.items() <= sample.labels.items()
    ]
    return sum(found) if found else None


def shadowed(registry: CollectorRegistry) -> dict[str, float]:
    """Return how many images version 2 of `colors` has had as a shadow, by what came of them."""
    found = {
        outcome: total(
            registry, "foveal_shadow_images_total", model="colors", version="2", outcome=outcome
        )
        for outcome in ("agreed", "differed", "failed", "dropped")
    }
    return {outcome: count for outcome, count in found.items() if count}


def openmetrics(text: str) -> list[Sample]:
    """Return all samples of an exposition in OpenMetrics, with their exemplars."""
    families = text_string_to_metric_families(text)  # type: ignore[no-untyped-call]
    return [sample for family in families for sample in family.samples]
