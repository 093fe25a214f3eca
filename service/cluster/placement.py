"""The size of a model → what one replica of it takes of a machine: Ray places it where that is free."""

from dataclasses import dataclass
from typing import TypeVar

from service.card import Cost
from service.cluster.arguments import ClusterArguments, ModelArguments

T = TypeVar("T")

PROCESS_BYTES = 256 << 20
"""Of a replica before it holds a network: Python, ONNX Runtime and Ray."""
CPU_STEPS = ((100e6, 0.1), (1e9, 0.25))
"""A network of fewer multiply-accumulates than this takes so much of a core; a larger one `LARGEST_CPUS`."""
LARGEST_CPUS = 0.5
GPU_STEP = 0.05
"""GPUs are shared in steps of so much, so that rounding never lets one replica too many onto a GPU."""


@dataclass(frozen=True, slots=True)
class Resources:
    """What one replica takes of a machine.

    Attributes:
        cpus, gpus: fractions share a core or a GPU.
        memory_bytes: of the machine, without its GPUs.
    """

    cpus: float
    gpus: float
    memory_bytes: int


def resources_of(name: str, cost: Cost, size_bytes: int, arguments: ClusterArguments) -> Resources:
    """Return what one replica of a model takes.

    Args:
        name: of the model.
        cost: of an image, as its card has it.
        size_bytes: of its files.
        arguments: what the operator says.
    """
    own = arguments.models.get(name, ModelArguments())
    # The file is read, parsed and packed, each a copy for a while; and two images are in the network.
    needed = 3 * size_bytes + 2 * cost.activation_bytes
    gpus = _first(own.gpus, arguments.gpus)
    if gpus is None:
        gpus = _part_of_gpu(needed, arguments.gpu_memory_bytes)
    cpus = _first(own.cpus, arguments.cpus)
    memory = _first(own.memory_bytes, arguments.memory_bytes)
    return Resources(
        _cpus_for(cost.macs) if cpus is None else cpus,
        gpus,
        PROCESS_BYTES + needed if memory is None else memory,
    )


def _first(own: T | None, of_all: T | None) -> T | None:
    return of_all if own is None else own


def _cpus_for(macs: int) -> float:
    return next((cpus for below, cpus in CPU_STEPS if macs < below), LARGEST_CPUS)


def _part_of_gpu(needed: int, memory_bytes: int) -> float:
    """Return a fraction of a GPU, in steps; 0 where the cluster has none, 1 where the network needs all of it."""
    if not memory_bytes:
        return 0.0
    # CUDA's context and cuDNN's workspaces are another half a gigabyte.
    steps = -(-(needed + (512 << 20)) // max(1, int(memory_bytes * GPU_STEP)))
    return min(1.0, round(steps * GPU_STEP, 2))
