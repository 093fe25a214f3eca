"""What each replica has counted, on its way to one exposition for all of them."""

from typing import Literal

from prometheus_client.registry import Collector

from service.processes.metrics_merge import write_families

MODEL_FAMILIES: Literal["model"] = "model"
INGRESS_FAMILIES: Literal["ingress"] = "ingress"
BATCHES = frozenset({"foveal_batch_size", "foveal_batches", "foveal_macs", "foveal_stuck_batches"})
"""What is counted of batches: where they run. To the ingress, a batch is what it sends to a replica."""
PROCESS_PREFIXES = (
    *("process_", "python_", "foveal_replicas", "foveal_build_info"),
    "foveal_storage_",
)
"""What is counted of each process: also what it fetches of a model."""


def report_of(registry: Collector, *, of: Literal["model", "ingress"]) -> bytes:
    """Return what a replica has counted, each thing where it happens, so that nothing counts twice."""
    return write_families(one for one in registry.collect() if _belongs(one.name, of))


def _belongs(family: str, of: str) -> bool:
    if of == INGRESS_FAMILIES:
        return family not in BATCHES
    return family in BATCHES or family.startswith(PROCESS_PREFIXES)
