"""What all exports of the tests share: PyTorch's table of operators, made once in a process."""

import copy
import functools
from collections.abc import Iterator
from typing import Any

import pytest


@pytest.fixture(scope="session", autouse=True)
def one_operator_table() -> Iterator[None]:
    """Let every export take a copy of one table of PyTorch's operators for ONNX.

    `torch.onnx.export` reads the source of 500 functions for it each time: 0.6 s of processor time, a fourth of what a
    small network's export takes. A process of a user exports once. The table is no public part of PyTorch; where there
    is none, each export makes its own.
    """
    registration = pytest.importorskip("torch.onnx._internal.exporter._registration")
    table: Any = getattr(registration, "ONNXRegistry", None)
    if not hasattr(table, "from_torchlib"):
        yield
        return
    made = functools.cache(table.from_torchlib)

    def own_copy(*arguments: Any, **options: Any) -> Any:
        found = copy.copy(made(*arguments, **options))
        # An export adds operators of its own to it.
        found.functions = {name: list(known) for name, known in found.functions.items()}
        return found

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(table, "from_torchlib", staticmethod(own_copy))
        yield
