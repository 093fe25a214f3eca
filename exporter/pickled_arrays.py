"""NumPy arrays in pickles and NPZ archives as tensors, read without NumPy's own unpickling, which runs code."""

import zipfile
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from exporter.errors import WeightsError

_NUMBERS = "fiub"
"""The kinds of NumPy's types that hold numbers: floats, integers, unsigned integers, booleans."""


class PickledDtype:
    """What a pickle says of `numpy.dtype`: a code such as `f4`, and the byte order that follows it."""

    def __init__(self, code: object = "", *_rest: object) -> None:
        self._code = str(code)
        self._order = "="

    def __setstate__(self, state: object) -> None:
        if isinstance(state, tuple) and len(state) > 1 and state[1] in {"<", ">", "|", "="}:
            self._order = str(state[1])

    @property
    def numbers(self) -> np.dtype[Any] | None:
        """The type of numbers, None where it is one of objects, texts or records."""
        code = self._code
        if code[:1] not in set(_NUMBERS) or not code[1:].isdecimal():
            return None
        try:
            return np.dtype(self._order + code)
        except TypeError:
            return None


class PickledArray:
    """What a pickle says of an array: its shape, type and bytes. Nothing of it is called or imported."""

    def __init__(self, *given: object) -> None:
        # `_frombuffer(buffer, dtype, shape, order)` of protocol 5; `_reconstruct` gets the rest by `__setstate__`.
        self._parts = given if len(given) == 4 else ()

    def __setstate__(self, state: object) -> None:
        if isinstance(state, tuple) and len(state) >= 4:
            shape, dtype, fortran, data = state[-4:]
            self._parts = (data, dtype, shape, "F" if fortran else "C")

    def tensor(self) -> Tensor | None:
        """Return the numbers as a tensor, None where it holds no numbers, or not as many as its shape says."""
        if not self._parts:
            return None
        data, dtype, shape, order = self._parts
        kind = dtype.numbers if isinstance(dtype, PickledDtype) else None
        if kind is None or not isinstance(shape, tuple):
            return None
        raw = data.encode("latin1") if isinstance(data, str) else data
        try:
            flat = np.frombuffer(raw, kind)  # type: ignore[call-overload] # whatever the file holds
            return tensor_of(flat.reshape(shape, order="F" if order == "F" else "C"))
        except (ValueError, TypeError):
            return None


def tensor_of(array: NDArray[Any]) -> Tensor | None:
    """Return an array's numbers as a tensor, None where they are of a type that PyTorch does not have."""
    native = np.array(array, dtype=array.dtype.newbyteorder("="))
    try:
        return torch.from_numpy(native)
    except TypeError:
        return None


def encoded(text: object = "", encoding: object = "latin1") -> bytes:
    """Return the bytes that protocols before 3 write as a call of `_codecs.encode`."""
    return str(text).encode("latin1") if encoding == "latin1" else b""


def read_npz(path: Path) -> dict[str, Tensor]:
    """Return the arrays of an NPZ archive by name.

    Raises:
        WeightsError: it is damaged, or holds Python objects in place of arrays.
    """
    found: dict[str, Tensor] = {}
    try:
        with np.load(path, allow_pickle=False) as archive:
            for name in archive.files:
                value = tensor_of(archive[name])
                if value is not None:
                    found[name] = value
    except ValueError as error:
        if "allow_pickle" not in str(error):
            raise _damaged(path, error) from error
        raise WeightsError(
            f"--weights {path.name} holds Python objects, which only running code reads. Save each array under its "
            "name: numpy.savez(FILE, **{name: value.numpy() for name, value in model.state_dict().items()})"
        ) from error
    except (OSError, EOFError, KeyError, zipfile.BadZipFile) as error:
        raise _damaged(path, error) from error
    return found


def _damaged(path: Path, error: Exception) -> WeightsError:
    return WeightsError(
        f"--weights {path.name} is damaged or truncated: {error}. Download or save it again"
    )
