"""The memory that a large batch needs at least, held against what the system has before it ends the process."""

from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path

import onnx

from exporter.errors import GraphError, ShortageError
from exporter.shapes import infer_shapes

SIDES = 2
"""The source and the graph compute a batch at the same time."""

_FLOAT = 4
_MEMINFO = Path("/proc/meminfo")
_GROUPS = (
    Path("/sys/fs/cgroup/memory.max"),
    Path("/sys/fs/cgroup/memory/memory.limit_in_bytes"),
)
"""Where version 2 and version 1 have a container's limit; what it holds counts files that can be dropped too."""


def require_room(model: onnx.ModelProto, batch: int, free: int | None = None) -> None:
    """Refuse a batch for which there is no memory: Linux ends a process that takes more, without a word of its own.

    Args:
        model: the graph.
        batch: how many samples are computed at once.
        free: bytes that can be had; without it the system is asked.

    Raises:
        ShortageError: the batch needs more.
    """
    free = free_memory() if free is None else free
    if free is None:
        return
    needed = batch * _of_one(model)
    if needed > free:
        raise ShortageError(
            f"--largest-batch {batch} needs at least {needed / 2**30:.1f} GiB of memory for the proof, and "
            f"{free / 2**30:.1f} GiB are free. Give a smaller one: 16, as without the option, is enough for most"
        )


def free_memory() -> int | None:
    """Return the bytes that can be had at most: what is free, or a container's limit; None if not known."""
    return min(_limits(), default=None)


def _limits() -> Iterator[int]:
    with suppress(OSError, ValueError, StopIteration):
        lines = _MEMINFO.read_text(encoding="ascii").splitlines()
        yield (
            int(next(line for line in lines if line.startswith("MemAvailable:")).split()[1]) * 1024
        )
    for limit in _GROUPS:
        with suppress(OSError, ValueError):
            yield int(limit.read_text(encoding="ascii"))


def _of_one(model: onnx.ModelProto) -> int:
    """Return the bytes that one sample takes at least: the layer that reads and writes most, on both sides."""
    try:
        shapes = infer_shapes(model)
    except GraphError:
        return 0
    weights = {tensor.name for tensor in model.graph.initializer}
    images = [value.name for value in model.graph.input if value.name not in weights]
    pixels = sum(shapes[name].count for name in images if name in shapes) * _FLOAT
    layers = (
        sum(shapes[name].bytes for name in {*node.input, *node.output} - weights if name in shapes)
        for node in model.graph.node
    )
    return SIDES * max(pixels, max(layers, default=0))
