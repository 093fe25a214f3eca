"""PyTorch's threads while a recipe trains."""

import torch

from exporter.threads import one_thread


def test_inside_the_block_there_is_one_thread_and_after_it_as_many_as_before() -> None:
    before = torch.get_num_threads()
    torch.set_num_threads(2)
    try:
        with one_thread():
            assert torch.get_num_threads() == 1
        assert torch.get_num_threads() == 2
    finally:
        torch.set_num_threads(before)
