"""Why PyTorch can not capture a network, in one line and with the next step; PyTorch itself prints whole graphs."""

import logging
import re
from collections.abc import Iterator
from contextlib import contextmanager, redirect_stderr
from io import StringIO

import torch

from exporter.errors import GraphError
from exporter.library_warnings import ignore_library_warnings

_NO_OPERATOR = re.compile(
    r"No ONNX function found for <OpOverload\(op='(?P<new>[\w.]+)'"
    r"|the operator '(?P<old>[\w:]+)' to ONNX opset"
)
_ON_VALUES = re.compile(
    r"data-dependent|dynamic control flow|Data-dependent|non-Tensor inputs|GuardOnDataDependent"
)
_PLACE = re.compile(
    r"\(([^()\s]*?([\w-]+\.py)):(\d+) in \w+\)|File \"[^\"]*?([\w-]+\.py)\", line (\d+), in forward"
)
_INTERPRETER = "The following operation failed in the TorchScript interpreter"

_PROGRAM = (
    "torch.export.save(torch.export.export(model.eval(), (images,), "
    "dynamic_shapes=({0: torch.export.Dim.DYNAMIC},)), FILE)"
)
_NEXT = {
    "operator": "Compute this in the network with other operations, or return the tensor before it",
    "values": (
        "Replace the branch by torch.where, or leave it out where it only checks the input; the same code must run for "
        "every image"
    ),
    "script": f"TorchScript is converted by PyTorch's older exporter. Save a program where it was trained: {_PROGRAM}",
    "other": "Convert it to ONNX where it was trained (torch.onnx.export), and give that file",
}


@contextmanager
def quiet() -> Iterator[None]:
    """Let PyTorch's exporters print nothing until the block ends: neither warnings nor graphs."""
    level = logging.root.manager.disable
    core = torch._C  # noqa: SLF001 - setup_onnx_logging turns its log on in each call, and nothing turns it off
    log = core._jit_onnx_log  # noqa: SLF001
    core._jit_onnx_log = lambda *_: None  # noqa: SLF001
    try:
        with ignore_library_warnings(), redirect_stderr(StringIO()):
            logging.disable(logging.ERROR)
            yield
    finally:
        logging.disable(level)
        core._jit_onnx_log = log  # noqa: SLF001


def capture_error(error: BaseException, *, is_script: bool) -> GraphError:
    """Return the error for a network that can not be captured.

    Args:
        error: what PyTorch's exporter, or the network's code under it, raised.
        is_script: whether the network is a TorchScript.
    """
    text = "\n".join(str(one) for one in _chain(error))
    what, step = reason(error), "script" if is_script else "other"
    if (found := _NO_OPERATOR.search(text)) is not None:
        name = found["new"] or found["old"].replace("::", ".")
        what, step = f"there is no ONNX form of its operation {name}", "operator"
    elif _ON_VALUES.search(text):
        what, step = f"what it computes depends on the values of the image{_place(text)}", "values"
    return GraphError(f"PyTorch can not capture this network: {what}. {_NEXT[step]}")


def reason(error: BaseException) -> str:
    """Return the first line of the innermost cause, with its kind where that says more."""
    error = list(_chain(error))[-1]
    lines = [line.strip() for line in str(error).splitlines() if line.strip()]
    if not lines:
        return type(error).__name__
    if lines[0].startswith(_INTERPRETER):
        return lines[-1].removeprefix("builtins.").rstrip(".")
    says_it = isinstance(error, (RuntimeError, AssertionError))
    first = lines[0].rstrip(".")
    return first if says_it else f"{type(error).__name__}: {first}"


def _chain(error: BaseException) -> Iterator[BaseException]:
    one: BaseException | None = error
    while one is not None:
        yield one
        one = one.__cause__


def _place(text: str) -> str:
    """Return the file and line in the network's code that PyTorch names, in brackets; empty where it names none."""
    places = [
        (found[2] or found[4], found[3] or found[5])
        for found in _PLACE.finditer(text)
        if "site-packages" not in found[0] and "/torch/" not in found[0]
    ]
    return f" ({places[-1][0]}, line {places[-1][1]})" if places else ""
