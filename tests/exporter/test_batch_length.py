"""`len(batch)` in a network's code: captured at the first attempt, for a batch of any size."""

import sys

import pytest
import torch
from torch import Tensor, nn

from exporter.batch_length import free_lengths, length

pytestmark = pytest.mark.filterwarnings("ignore")  # PyTorch's own, about its own internals


class Counting(nn.Module):
    """Asks Python for the length of its batch, and of a list."""

    def __init__(self) -> None:
        super().__init__()
        self.query = nn.Parameter(torch.ones(1, 4))

    def forward(self, pixels: Tensor) -> Tensor:
        return self.query.repeat(len(pixels), len([1, 2])) + pixels.mean((1, 2, 3))[:, None]


class Wrapping(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.part = Counting()

    def forward(self, pixels: Tensor) -> Tensor:
        found: Tensor = self.part(pixels)
        return found


def captured(module: nn.Module) -> nn.Module:
    free = ({0: torch.export.Dim.DYNAMIC},)
    program = torch.export.export(
        module, (torch.zeros(2, 3, 8, 8),), dynamic_shapes=free, strict=False
    )
    return program.module()


def test_a_length_fixes_the_batch_only_outside_of_the_block() -> None:
    module = Wrapping().eval()
    with pytest.raises(Exception, match="specialized it to be a constant"):
        captured(module)
    with free_lengths(module):
        program = captured(module)
    for size in (1, 2, 5):
        batch = torch.rand(size, 3, 8, 8)
        assert torch.equal(program(batch), module(batch))


def test_the_files_of_the_network_are_left_as_they_were() -> None:
    names = vars(sys.modules[__name__])
    with pytest.raises(ZeroDivisionError), free_lengths(Counting()):  # noqa: PT012 - what a block does
        assert names["len"] is length
        _ = 1 / 0
    assert "len" not in names


def test_a_file_that_has_its_own_meaning_of_the_word_keeps_it(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    own = lambda _: 7  # noqa: E731 - a name in this file
    monkeypatch.setitem(vars(sys.modules[__name__]), "len", own)
    with free_lengths(Counting()):
        assert vars(sys.modules[__name__])["len"] is own
    assert vars(sys.modules[__name__])["len"] is own


def test_the_length_of_everything_else_is_that_of_python() -> None:
    assert (length("abc"), length([]), length(torch.zeros(4, 2))) == (3, 0, 4)
    with pytest.raises(TypeError):
        length(torch.tensor(1.0))
