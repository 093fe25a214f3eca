"""PyTorch's threads while a recipe trains and is proved."""

import os
from threading import Barrier

import pytest
import torch

from exporter.threads import beside, half_of_the_cores, one_thread


def test_inside_the_block_there_is_one_thread_and_after_it_as_many_as_before() -> None:
    before = torch.get_num_threads()
    torch.set_num_threads(2)
    try:
        with one_thread():
            assert torch.get_num_threads() == 1
        assert torch.get_num_threads() == 2
    finally:
        torch.set_num_threads(before)


def test_beside_onnx_runtime_pytorch_has_half_of_the_cores_and_at_least_one() -> None:
    before = torch.get_num_threads()
    with half_of_the_cores():
        assert torch.get_num_threads() == max(1, len(os.sched_getaffinity(0)) // 2)
    assert torch.get_num_threads() == before


def test_two_frameworks_work_at_the_same_time() -> None:
    """Each waits for the other to have begun; one after the other would never end."""
    both = Barrier(2, timeout=10)

    def met(name: str) -> str:
        both.wait()
        return name

    assert beside(lambda: met("source"), lambda: met("graph")) == ("source", "graph")


@pytest.mark.parametrize("fails", ["source", "graph"])
def test_an_error_of_either_framework_is_raised(fails: str) -> None:
    def work(name: str) -> str:
        if name == fails:
            raise ValueError(name)
        return name

    with pytest.raises(ValueError, match=fails):
        beside(lambda: work("source"), lambda: work("graph"))
