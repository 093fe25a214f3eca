"""An ONNX file → its protobuf message, whose names are text: onnx reads other bytes too, and fails on them later."""

from collections.abc import Iterator
from pathlib import Path

import onnx
from google.protobuf.message import Message
from onnx import TensorProto


class NoTextError(Exception):
    """A name in the file is no text: the file is damaged."""


def load_onnx(path: Path, *, external_data: bool = True) -> onnx.ModelProto:
    """Return the model in a file.

    Args:
        path: the file.
        external_data: whether the weights in files beside it are read too.

    Raises:
        OSError: a file can not be read.
        NoTextError: a name is not UTF-8.
        Exception: it is not ONNX; protobuf's errors have no public home that is stable.
    """
    model = onnx.load(path, load_external_data=external_data)
    for text in _texts(model):
        if isinstance(text, bytes):
            raise NoTextError(f"the name {text!r} in it is no text")
    return model


def _texts(message: Message) -> Iterator[str | bytes]:
    """Yield all names, and bytes in place of those that are not UTF-8; a tensor's values are not looked at."""
    if isinstance(message, TensorProto):
        yield message.name
        return
    for field, value in message.ListFields():
        if field.type == field.TYPE_STRING:
            yield from (value,) if isinstance(value, str | bytes) else value
        elif field.type == field.TYPE_MESSAGE:
            for part in (value,) if isinstance(value, Message) else value:
                yield from _texts(part)
