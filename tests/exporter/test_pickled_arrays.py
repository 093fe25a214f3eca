"""Weights that were saved by pickle.dump or by NumPy are read as torch.save's are, and run no code."""

import io
import os
import pickle
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any, Literal

import numpy as np
import pytest
import torch
from torch import nn

from exporter.errors import WeightsError
from exporter.weights import load_weights

pytestmark = pytest.mark.filterwarnings("ignore")  # PyTorch's own, about formats of files

PIXELS = torch.rand(2, 3, 8, 8, generator=torch.Generator().manual_seed(1))


def net(seed: int) -> nn.Module:
    torch.manual_seed(seed)
    made = nn.Sequential(nn.Conv2d(3, 4, 3), nn.BatchNorm2d(4), nn.Flatten(), nn.Linear(144, 2))
    made[1].running_mean = torch.rand(4)
    return made.eval()


def arrays(order: Literal["C", "F"] = "C", kind: str = "float32") -> dict[str, Any]:
    """Return the weights of `net(1)` as NumPy arrays; its counter stays a whole number."""
    return {
        name: np.array(value.numpy(), kind if value.is_floating_point() else "int64", order=order)
        for name, value in net(1).state_dict().items()
    }


def dumped(content: Any, path: Path, protocol: int = pickle.DEFAULT_PROTOCOL) -> None:
    path.write_bytes(pickle.dumps(content, protocol))


def dump_arrays(protocol: int, path: Path) -> None:
    dumped(arrays(), path, protocol)


FORMS: dict[str, Callable[[Path], None]] = {
    "state dict": lambda path: dumped(net(1).state_dict(), path),
    "state dict, protocol 0": lambda path: dumped(net(1).state_dict(), path, 0),
    "whole module": lambda path: dumped(net(1), path),
    **{
        f"arrays, protocol {protocol}": partial(dump_arrays, protocol)
        for protocol in range(pickle.HIGHEST_PROTOCOL + 1)
    },
    "nested arrays": lambda path: dumped({"epoch": 3, "model": arrays()}, path),
    "Fortran order": lambda path: dumped(arrays(order="F"), path),
    "Fortran order, protocol 2": lambda path: dumped(arrays(order="F"), path, 2),
    "big-endian": lambda path: dumped(arrays(kind=">f4"), path),
    "float64": lambda path: dumped(arrays(kind="float64"), path),
    "arrays by torch.save": lambda path: torch.save(arrays(), path),
    "npz": lambda path: np.savez(path.open("wb"), **arrays()),
    "compressed npz": lambda path: np.savez_compressed(path.open("wb"), **arrays()),
    "npz with a prefix": lambda path: np.savez(
        path.open("wb"), **{f"module.{name}": value for name, value in arrays().items()}
    ),
}


@pytest.mark.parametrize("form", FORMS)
@pytest.mark.parametrize("ending", [".pkl", ".pth"])
def test_the_network_computes_with_these_weights_as_with_its_own(
    tmp_path: Path, form: str, ending: str
) -> None:
    path = tmp_path / f"weights{ending}"
    FORMS[form](path)
    loaded = net(2)

    load_weights(loaded, path)

    with torch.inference_mode():
        torch.testing.assert_close(loaded(PIXELS), net(1)(PIXELS))
        assert not torch.allclose(net(1)(PIXELS), net(2)(PIXELS))


def test_arrays_in_half_precision_become_float32(tmp_path: Path) -> None:
    dumped(arrays(kind="float16"), tmp_path / "half.pkl")
    loaded = net(2)

    load_weights(loaded, tmp_path / "half.pkl")

    with torch.inference_mode():
        torch.testing.assert_close(loaded(PIXELS), net(1)(PIXELS), atol=1e-2, rtol=0)


class Touches:
    """Leaves a mark when it is unpickled by Python's own reader."""

    def __init__(self, mark: Path) -> None:
        self._mark = mark

    def __reduce__(self) -> tuple[Callable[[str], int], tuple[str]]:
        return os.system, (f"touch {self._mark}",)


class Hides:
    """Holds a file of torch.save inside a pickle, which holds what it is given."""

    def __init__(self, content: object) -> None:
        self._content = content

    def __reduce__(self) -> tuple[Callable[[bytes], object], tuple[bytes]]:
        inner = io.BytesIO()
        torch.save(self._content, inner)
        return torch.storage._load_from_bytes, (inner.getvalue(),)  # noqa: SLF001 - what pickles name


@pytest.mark.parametrize("protocol", [0, 2, 4, 5])
@pytest.mark.parametrize("hidden", [False, True], ids=["plain", "inside a tensor's bytes"])
def test_a_call_beside_arrays_is_refused_and_not_made(
    tmp_path: Path, *, hidden: bool, protocol: int
) -> None:
    mark = tmp_path / "mark"
    odd: object = Hides(Touches(mark)) if hidden else Touches(mark)
    dumped({**arrays(), "odd": odd}, tmp_path / "odd.pkl", protocol)

    with pytest.raises(WeightsError, match=r"odd\.pkl is refused.*system"):
        load_weights(net(2), tmp_path / "odd.pkl")

    assert not mark.exists()


def cut(form: str, count: int, path: Path) -> None:
    FORMS[form](path)
    path.write_bytes(path.read_bytes()[:-count])


def too_short(path: Path) -> None:
    """Write an array whose shape asks for more numbers than it has bytes for."""
    written = pickle.dumps({"w": np.ones((2, 3), np.float32)}, 2)
    assert b"K\x02K\x03" in written
    path.write_bytes(written.replace(b"K\x02K\x03", b"K\x7fK\x7f"))


def dumped_parts(path: Path) -> None:
    """Write what unzipping a file of torch.save leaves under the name data.pkl."""

    class Parts(pickle.Pickler):
        def persistent_id(self, held: Any) -> Any:
            return "0" if isinstance(held, torch.UntypedStorage | torch.TypedStorage) else None

    with path.open("wb") as file:
        Parts(file, 2).dump({"w": torch.ones(3).untyped_storage()})


REFUSED: dict[str, tuple[Callable[[Path], None], str]] = {
    "a dictionary in an npz": (
        lambda path: np.savez(path.open("wb"), net(1).state_dict()),  # type: ignore[arg-type]
        "Save each array under its name",
    ),
    "a single array": (
        lambda path: np.save(path.open("wb"), np.zeros(3)),
        "Save all of the weights by name",
    ),
    "a truncated pickle": (lambda path: cut("arrays, protocol 4", 200, path), "truncated"),
    "a truncated npz": (lambda path: cut("npz", 300, path), "truncated"),
    "texts": (lambda path: dumped({"names": np.array(["a", "b"])}, path), "no state dict"),
    "fewer bytes than the shape": (too_short, "no state dict"),
    "a list": (lambda path: dumped([1, 2, 3], path), "no state dict"),
    "a part of an unpacked file": (dumped_parts, "part of an unpacked file"),
}


@pytest.mark.parametrize("what", REFUSED)
def test_what_holds_no_weights_is_refused_with_the_next_step(tmp_path: Path, what: str) -> None:
    make, words = REFUSED[what]
    make(tmp_path / "odd.pkl")

    with pytest.raises(WeightsError, match=words) as refused:
        load_weights(net(2), tmp_path / "odd.pkl")

    assert "odd.pkl" in str(refused.value)
