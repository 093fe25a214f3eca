"""What was counted of a place of models."""

from prometheus_client import CollectorRegistry

PREFIX = "foveal_storage_"


def counted(registry: CollectorRegistry) -> dict[str, float]:
    """Return each count that is not 0, by its name after the prefix and its label, and whether the place is reachable.

    Of the seconds it is how often they were taken.
    """
    return {
        " ".join((sample.name.removeprefix(PREFIX), *sample.labels.values())): sample.value
        for family in registry.collect()
        for sample in family.samples
        if not sample.name.endswith(("_bucket", "_sum", "_created"))
        and (sample.value or sample.name.endswith("_reachable"))
    }
