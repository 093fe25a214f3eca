"""Servables of a given size."""

import secrets
from pathlib import Path

from onnx import TensorProto, helper

from tests.servables import color_model, write_servable


def write_large(root: Path, size_bytes: int, name: str = "colors", version: int = 1) -> Path:
    """Write a servable that has more bytes than that, which no other has."""
    model = color_model()
    ballast = secrets.token_bytes(size_bytes)
    model.graph.initializer.append(
        helper.make_tensor("ballast", TensorProto.UINT8, [size_bytes], ballast, raw=True)
    )
    return write_servable(root, name, version, model=model)
