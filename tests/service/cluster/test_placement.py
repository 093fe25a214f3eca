import pytest

from service.card import Cost
from service.cluster.arguments import ClusterArguments, ModelArguments
from service.cluster.placement import PROCESS_BYTES, resources_of

SMALL = Cost(parameters=1, macs=10_000_000, activation_bytes=1 << 20)
LARGE = Cost(parameters=1, macs=20_000_000_000, activation_bytes=1 << 30)


def test_a_larger_model_takes_more_of_a_machine() -> None:
    small = resources_of("a", SMALL, 1 << 20, ClusterArguments())
    large = resources_of("b", LARGE, 1 << 28, ClusterArguments())
    assert (small.cpus, large.cpus) == (0.1, 0.5)
    assert small.memory_bytes == PROCESS_BYTES + 5 * (1 << 20)
    assert large.memory_bytes == PROCESS_BYTES + 3 * (1 << 28) + 2 * (1 << 30)
    assert (small.gpus, large.gpus) == (0, 0)


@pytest.mark.parametrize(("gpu_memory", "part"), [(80 << 30, 0.05), (16 << 30, 0.25), (2 << 30, 1)])
def test_a_model_takes_the_part_of_a_gpu_that_it_needs(gpu_memory: int, part: float) -> None:
    arguments = ClusterArguments(gpu_memory_bytes=gpu_memory)
    assert resources_of("b", LARGE, 1 << 28, arguments).gpus == part


def test_what_the_operator_says_goes_before_the_size() -> None:
    models = {"b": ModelArguments(gpus=0.5)}
    arguments = ClusterArguments(cpus=2, gpus=1, memory_bytes=7, models=models)
    found = resources_of("b", LARGE, 1 << 28, arguments)
    assert (found.cpus, found.gpus, found.memory_bytes) == (2, 0.5, 7)
    assert resources_of("a", SMALL, 1 << 20, arguments).gpus == 1
