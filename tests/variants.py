"""Variants of tiny servables: the network that says which color an image has most of, and frames of colors."""

import hashlib
from collections.abc import Mapping
from pathlib import Path

import numpy as np
import onnx
from numpy.typing import NDArray
from onnx import helper, numpy_helper

from service.card import CARD_KEY, REFERENCE_FILE, Accuracy, Card, Precision, Variant
from service.servable_file import graph_sha256, read_card
from tests.servables import SIDE, color_model


def color_frames(count: int = 12) -> NDArray[np.uint8]:
    """Return frames of one color each, red, green and blue in turn, uint8 (N, 8, 8, 3)."""
    frames = np.full((count, SIDE, SIDE, 3), 20, np.uint8)
    for index in range(count):
        frames[index, ..., index % 3] = 60 + 5 * index
    return frames


def scaled_model(factor: float) -> onnx.ModelProto:
    """Return the network of colors with other logits, by this factor: 1.01 hardly changes an answer, -1 every one."""
    model = color_model()
    scale = numpy_helper.from_array(np.array(25.5 / factor, np.float32), "scale")
    model.graph.initializer[0].CopyFrom(scale)
    return model


def write_reference(folder: Path, frames: NDArray[np.uint8]) -> str:
    """Write reference frames and return the file's digest."""
    path = folder / REFERENCE_FILE
    np.save(path, frames)
    return hashlib.sha256(path.read_bytes()).hexdigest()


def write_variant(
    servable: Path,
    precision: Precision,
    model: onnx.ModelProto,
    *,
    frames: NDArray[np.uint8] | None = None,
    of_sha256: str | None = None,
    agreement: Mapping[str, float] | None = None,
    accuracy: Accuracy | None = None,
) -> Path:
    """Write a variant of a servable, with reference frames, and return its file."""
    card = read_card(servable)
    path = servable.with_name(f"{precision}.onnx")
    path.write_bytes(model.SerializeToString())
    variant = Variant(
        of_sha256=of_sha256 or card.certificate.graph_sha256,
        reference_sha256=write_reference(
            servable.parent, color_frames() if frames is None else frames
        ),
        agreement=dict(agreement or {}),
    )
    proof = card.certificate.model_copy(
        update={"graph_sha256": graph_sha256(path, card.certificate.digest)}
    )
    changes = {
        "precision": precision,
        "variant": variant,
        "certificate": proof,
        "accuracy": accuracy,
    }
    signed: Card = card.model_copy(update=changes)
    helper.set_model_props(model, {CARD_KEY: signed.model_dump_json()})
    path.write_bytes(model.SerializeToString())
    return path
