"""The networks of a run: those of the repository, and a ResNet-50 with random weights."""

from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import onnxruntime as ort
from numpy.typing import NDArray

from benchmarks.gpu.order import Order, Report
from benchmarks.gpu.photographs import proof_images
from benchmarks.gpu.resnet import random_weights, resnet50
from benchmarks.gpu.run import ROOT
from benchmarks.gpu.steps import RESNET
from exporter.cost import count_cost
from exporter.half import to_fp16
from exporter.writing import WRITTEN_DIGEST, graph_digest, write_servable
from service.card import Card, Certificate, ImageInput
from service.imaging.decode import Limits
from service.imaging.resize import fit_encoded
from service.servable_file import read_card

REPOSITORY = ROOT / "models"
HALF = "-fp16"
_CPU_MACS = 2e9
_CPU_BYTES = 128 * 2**20
"""What a batch may cost where the CPU stands in for the GPU."""


@dataclass(frozen=True, slots=True)
class Network:
    """A servable and its card."""

    name: str
    path: Path
    card: Card


def network(name: str, out: Path) -> Network:
    """Return the newest version of a network, from the repository or from the run's own folder.

    Raises:
        FileNotFoundError: there is none.
    """
    for folder in (REPOSITORY, out / "models"):
        found = [
            path for path in (folder / name).glob("*/model.onnx") if path.parent.name.isdigit()
        ]
        if found:
            path = max(found, key=lambda one: int(one.parent.name))
            return Network(name, path, read_card(path))
    raise FileNotFoundError(f"there is no network {name} in {REPOSITORY} or {out / 'models'}")


def make_resnet(order: Order, report: Report) -> None:
    """Write the ResNet-50 into the run's folder, unless it is there."""
    path = order.out / "models" / RESNET / "1" / "model.onnx"
    if not path.exists():
        model = resnet50(random_weights())
        write_servable(path, model, _card(model))
    report({"file_mib": round(path.stat().st_size / 2**20, 1)})


def _card(model: onnx.ModelProto) -> Card:
    return Card(
        name=RESNET,
        task="classify",
        title="ResNet-50",
        description="Random weights: for timing only.",
        labels=tuple(f"class {index}" for index in range(1000)),
        license="Apache-2.0",
        source="made by benchmarks.gpu, untrained",
        input=ImageInput(height=224, width=224, shorter_side=256),
        cost=count_cost(model),
        certificate=Certificate(
            reference="nothing: the weights are random",
            batches=(1,),
            max_difference=0,
            tolerance=1e-3,
            metric="top1",
            agreement=1,
            images=0,
            tools={"onnx": onnx.__version__},
            date=datetime.now(UTC).date(),
            graph_sha256=graph_digest(model),
            digest=WRITTEN_DIGEST,
        ),
    )


def half_servable(of: Network, out: Path) -> Network:
    """Return the same network in fp16 as a servable of its own; it is made once."""
    name = of.name + HALF
    path = out / "models" / name / "1" / "model.onnx"
    if not path.exists():
        model = to_fp16(onnx.load(of.path))
        digest = {"graph_sha256": graph_digest(model), "digest": WRITTEN_DIGEST}
        proof = of.card.certificate.model_copy(update=digest)
        changed = {"name": name, "precision": "fp16", "certificate": proof}
        write_servable(path, model, of.card.model_copy(update=changed))
    return Network(name, path, read_card(path))


def inputs_of(one: Network, count: int) -> NDArray[Any]:
    """Return inputs of a network: frames, uint8 (N, H, W, 3), of photographs; or windows of their features."""
    if one.card.input is not None:
        return frames_of(one.card.input, count)
    return _windows(one, count)


def frames_of(target: ImageInput, count: int) -> NDArray[np.uint8]:
    """Return what the service makes of photographs and of parts of them: uint8 (N, H, W, 3)."""
    return np.stack([fit_encoded(body, target, Limits())[0] for body in proof_images(count)])


def _windows(one: Network, count: int) -> NDArray[np.float32]:
    """Return windows of features, (N, T, F): paths between the features of photographs, as a moving camera gives."""
    assert one.card.window is not None
    assert one.card.backbone is not None
    backbone = network(one.card.backbone, Path())
    session = ort.InferenceSession(str(backbone.path), providers=["CPUExecutionProvider"])
    frames = frames_of(backbone.card.image_input, count + 1)
    (found,) = session.run(["features"], {session.get_inputs()[0].name: frames})
    along = np.linspace(0, 1, one.card.window.frames, dtype=np.float32)[None, :, None]
    path: NDArray[np.float32] = found[:-1, None] * (1 - along) + found[1:, None] * along
    return path


def largest_batch(card: Card, *, stand_in: bool, most: int = 64) -> int:
    """Return the largest batch that is measured: 64, or on a CPU what runs in a moment and in little memory."""
    if card.max_batch:
        most = min(most, card.max_batch)
    if not stand_in:
        return most
    size = 1
    while 2 * size <= most and 2 * size * card.cost.macs <= _CPU_MACS:
        size *= 2
        if size * card.cost.activation_bytes > _CPU_BYTES:
            return max(1, size // 2)
    return size
