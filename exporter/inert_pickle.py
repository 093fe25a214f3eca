"""Checkpoints that hold more than tensors, read without running code.

A pickle names classes and functions and asks the reader to call them. This reader calls only those that rebuild
tensors and plain values. For every other class it makes an inert value, which keeps what it is given and does nothing.
The names are never imported. What no checkpoint needs, such as a function of the standard library, is refused.
"""

import io
import pickle
import sys
from _compat_pickle import IMPORT_MAPPING, NAME_MAPPING
from collections import OrderedDict
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from types import TracebackType
from typing import IO, Any

import torch

from exporter.pickled_arrays import PickledArray, PickledDtype, encoded

PLAIN: Mapping[str, Callable[..., Any]] = {
    "collections.OrderedDict": OrderedDict,
    "torch._utils._rebuild_tensor": torch._utils._rebuild_tensor,  # noqa: SLF001 - torch's own format names it
    "torch._utils._rebuild_tensor_v2": torch._utils._rebuild_tensor_v2,  # noqa: SLF001
    "torch._utils._rebuild_parameter": torch._utils._rebuild_parameter,  # noqa: SLF001
    "torch._utils._rebuild_parameter_with_state": torch._utils._rebuild_parameter_with_state,  # noqa: SLF001
    "torch.Size": torch.Size,
    "builtins.set": set,
    "builtins.frozenset": frozenset,
    "builtins.slice": slice,
    "builtins.complex": complex,
    "_codecs.encode": encoded,
    "numpy.dtype": PickledDtype,
    "numpy.core.multiarray._reconstruct": PickledArray,
    "numpy._core.multiarray._reconstruct": PickledArray,
    "numpy.core.numeric._frombuffer": PickledArray,
    "numpy._core.numeric._frombuffer": PickledArray,
}
"""What is called for real, by the name in the pickle; none of these runs anything that the file holds."""

_DESCRIBING = {
    "_codecs", "argparse", "collections", "copyreg", "datetime", "decimal", "enum", "fractions",
    "functools", "numbers", "operator", "optparse", "pathlib", "random", "re", "types", "typing", "uuid",
}  # fmt: skip
"""Modules of the standard library whose values describe a training and turn up in checkpoints."""

_BUILTINS = {
    "object", "getattr", "int", "float", "str", "bool", "list", "dict", "tuple", "bytes", "type",
    "range", "bytearray", "Ellipsis", "NoneType",
}  # fmt: skip
"""Names of `builtins` that may be named, and become inert as every other class does."""


class RunsCodeError(pickle.UnpicklingError):
    """A pickle asks for a call that no checkpoint needs."""


class Inert:
    """A value of a class that is not imported: it holds what the file gives it and does nothing."""

    def __init__(self, *given: object, **_named: object) -> None:
        self.given = given

    def __call__(self, *given: object, **named: object) -> "Inert":
        return Inert(*given, **named)

    def __setstate__(self, state: object) -> None:
        """Keep the attributes that an object of this class would get."""
        parts = state if isinstance(state, tuple) and len(state) == 2 else (state,)
        for part in parts:
            if isinstance(part, dict):
                vars(self).update({str(name): value for name, value in part.items()})

    def __setitem__(self, name: object, value: object) -> None:
        vars(self)[str(name)] = value

    def append(self, _value: object) -> None:
        """Take an element of a list of another class."""

    def extend(self, _values: object) -> None:
        """Take elements of a list of another class."""

    def add(self, _value: object) -> None:
        """Take an element of a set of another class."""

    def __hash__(self) -> int:
        return id(self)

    def __eq__(self, other: object) -> bool:
        return self is other


class Unpickler(pickle.Unpickler):  # the one class whose names are bounded by `find_class`
    """Reads a pickle with `PLAIN` and inert values; the name is what torch.load expects of a pickle module.

    Up to protocol 2, a pickle has Python 2's names of modules.
    """

    def load(self) -> Any:  # noqa: ANN401 - whatever the pickle holds
        """Read the pickle."""
        with _without_system_errors():
            return super().load()

    def find_class(self, module: str, name: str) -> Any:  # noqa: ANN401 - a class, a function or an inert class
        module, name = NAME_MAPPING.get((module, name), (IMPORT_MAPPING.get(module, module), name))
        full = f"{module}.{name}"
        if full == "torch.storage._load_from_bytes":
            return _storage
        if full in PLAIN:
            return _own(PLAIN[full])
        if module == "torch" and isinstance(value := vars(torch).get(name), torch.dtype):
            return value
        if _runs_code(module, name):
            raise RunsCodeError(f"it holds a call of {full}")
        return type(name.rpartition(".")[2] or name, (Inert,), {"__module__": module})


def _storage(held: bytes) -> object:
    """Return the storage that a tensor pickled by itself holds, as a file of torch.save inside the pickle."""
    inner = io.BytesIO(held)
    return torch.load(
        inner, map_location="cpu", weights_only=False, pickle_module=sys.modules[__name__]
    )


def load(file: IO[bytes], **options: Any) -> Any:  # noqa: ANN401 - whatever the pickle holds
    """Read one pickle, as `pickle.load` would."""
    return Unpickler(file, **options).load()


@contextmanager
def _without_system_errors() -> Iterator[None]:
    """Keep Python from printing that a bytearray has exported buffers, beside the error that is raised anyway.

    It looks at an uninitialized count where it has no memory for a bytearray, as one of 2⁶² bytes in a damaged pickle.
    It prints with `sys.excepthook`, which nothing else calls in the block: errors that are raised leave it first.
    """
    former = sys.excepthook

    def shown(kind: type[BaseException], error: BaseException, trace: TracebackType | None) -> None:
        if not issubclass(kind, SystemError):
            former(kind, error, trace)

    sys.excepthook = shown
    try:
        yield
    finally:
        sys.excepthook = former


def _own(called: Callable[..., Any]) -> Callable[..., Any]:
    """Return a class as it is, and a function behind a new one, whose attributes a pickle may set."""
    if isinstance(called, type):
        return called

    def own(*given: object) -> object:
        result: object = called(*given)
        return result

    return own


def _runs_code(module: str, name: str) -> bool:
    """Return whether no checkpoint needs this name: all of the standard library that does more than describe."""
    package = module.partition(".")[0]
    if package == "builtins":
        return name not in _BUILTINS
    return package in sys.stdlib_module_names | {"nt", "posix"} and package not in _DESCRIBING
