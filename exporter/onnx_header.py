"""An ONNX file without the values of its weights: what it states, and the form of its graph, read once."""

from functools import lru_cache
from pathlib import Path

import onnx

from exporter.external_data import outline_of
from exporter.loading import load_onnx
from exporter.negative_sizes import with_free_axes


def onnx_header(path: Path) -> onnx.ModelProto:
    """Return the model in a file; its large constants have a name, a type and dimensions, and no values.

    A file is read once, as long as it stays the same: several questions are answered from it before an export.

    Raises:
        OSError: the file can not be read.
        Exception: it is not ONNX; protobuf's errors have no public home that is stable.
    """
    state = path.stat()
    return _read(path.resolve(), state.st_mtime_ns, state.st_size)


@lru_cache(maxsize=4)
def _read(path: Path, changed_ns: int, size: int) -> onnx.ModelProto:  # noqa: ARG001 - the key of the cache
    return with_free_axes(outline_of(load_onnx(path, external_data=False)))
