"""What a training wraps around a network is taken off, wherever it is."""

from typing import Any, cast

import pytest
import torch
from torch import nn
from torch.nn.parallel import DataParallel
from torch.optim.swa_utils import AveragedModel

from exporter.sources.wrappers import unwrapped

pytestmark = pytest.mark.filterwarnings("ignore")  # PyTorch's own, about TorchScript


def compiled(module: nn.Module) -> nn.Module:
    return cast("nn.Module", torch.compile(module))


@pytest.mark.parametrize(
    "wrap",
    [
        lambda net: net,
        DataParallel,
        AveragedModel,
        compiled,
        lambda net: compiled(DataParallel(net)),
        lambda net: DataParallel(compiled(net)),
        lambda net: AveragedModel(DataParallel(compiled(net))),
    ],
)
def test_the_network_inside_is_found(wrap: Any) -> None:
    net = nn.Linear(2, 3)
    nn.init.constant_(net.weight, 0.25)

    found = unwrapped(wrap(net))

    # An averaged model holds a copy.
    assert type(found) is nn.Linear
    assert list(found.state_dict()) == ["weight", "bias"]
    assert bool((cast("Any", found).weight == 0.25).all())


def test_parts_are_freed_at_every_depth() -> None:
    deep = nn.Linear(2, 2)
    net = nn.Sequential(DataParallel(nn.Sequential(compiled(deep), nn.ReLU())), nn.Linear(2, 2))

    found = unwrapped(net)

    assert found is net
    assert list(found.state_dict()) == ["0.0.weight", "0.0.bias", "1.weight", "1.bias"]
    assert cast("Any", found)[0][0] is deep


def test_a_module_that_was_compiled_in_place_runs_its_own_code() -> None:
    net = nn.Sequential(nn.Linear(2, 2))
    net.compile()
    net[0].compile()
    assert vars(net)["_compiled_call_impl"] is not None

    found = unwrapped(net)

    assert "_compiled_call_impl" not in vars(found)
    assert "_compiled_call_impl" not in vars(cast("Any", found)[0])


def test_a_script_stays_as_it_is() -> None:
    script = torch.jit.trace(nn.Linear(2, 3), torch.zeros(1, 2))  # type: ignore[no-untyped-call]

    assert unwrapped(script) is script
    assert unwrapped(DataParallel(script)) is script
    holder = nn.Sequential(script)
    assert cast("Any", unwrapped(holder))[0] is script


def test_a_module_of_the_user_s_own_that_has_a_part_called_module_stays() -> None:
    class Own(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.module = nn.Linear(2, 3)

    own = Own()

    assert unwrapped(own) is own
