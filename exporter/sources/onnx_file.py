"""`onnx:FILE`: a network that somebody else exported, adopted as it is."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import onnx
import onnxruntime
from numpy.typing import NDArray
from onnx import TensorProto, version_converter

from exporter.batching import free_batch
from exporter.errors import GraphError, SourceError
from exporter.graph import OPSET, Graph
from exporter.heads.select_head import choose_head
from exporter.network import Array, Facts, Network, Outputs
from exporter.progress import Steps
from exporter.recipe import Pixels, Recipe
from exporter.sessions import unoptimized
from exporter.shapes import infer_shapes
from exporter.transforms import pixel_values, plain_transform
from service.card import ImageInput


@dataclass(frozen=True, slots=True)
class OnnxReference:
    """The file as it came, in ONNX Runtime without optimizations.

    A graph for one image at a time is run image by image.
    """

    model: onnx.ModelProto
    outputs: tuple[str, ...]
    image: ImageInput
    pixels: Pixels
    one_at_a_time: bool
    session: onnxruntime.InferenceSession
    name: str = f"the source file in ONNX Runtime {onnxruntime.__version__}"

    def pixels_of_image(self, body: bytes) -> NDArray[np.float32]:
        return plain_transform(self.image, self.pixels)(body)

    def pixels_of_frames(self, frames: NDArray[np.uint8]) -> NDArray[np.float32]:
        return pixel_values(frames, self.pixels)

    def run(self, pixels: NDArray[np.float32]) -> tuple[Array, ...]:
        return tuple(self._run(self.session, self.outputs, pixels))

    def own_answer(self, body: bytes) -> Outputs | None:  # noqa: ARG002
        return None

    def layers(self, pixels: NDArray[np.float32]) -> Iterator[tuple[str, Array]]:
        shapes = infer_shapes(self.model)
        names = [
            name
            for node in self.model.graph.node
            for name in node.output
            if name in shapes and shapes[name].is_float
        ]
        probe = onnx.ModelProto()
        probe.CopyFrom(self.model)
        del probe.graph.output[:]
        probe.graph.output.extend(onnx.ValueInfoProto(name=name) for name in names)
        yield from zip(names, self._run(unoptimized(probe), names, pixels), strict=True)

    def _run(
        self,
        session: onnxruntime.InferenceSession,
        names: Sequence[str],
        pixels: NDArray[np.float32],
    ) -> list[Array]:
        entry = session.get_inputs()[0].name
        parts = [pixels[i : i + 1] for i in range(len(pixels))] if self.one_at_a_time else [pixels]
        answers = [session.run(list(names), {entry: part}) for part in parts]
        return [np.concatenate(same) for same in zip(*answers, strict=True)]


def load(where: str, recipe: Recipe, steps: Steps) -> Network:
    """Return the network in an ONNX file.

    Raises:
        SourceError: the file is missing, no ONNX, or has more than one input.
        GraphError: it can not be brought to the servable's opset, or its batch is fixed for good.
    """
    steps.begin("Read the network")
    path = recipe.locate(where)
    source = _read(path)
    entry = _entry(source)
    pixels = recipe.pixels or Pixels()
    image = recipe.image_input(_size(entry, pixels))
    fixed = entry.type.tensor_type.shape.dim[0].dim_value == 1
    model = free_batch(_of_opset(source), _pixel_dims(image, pixels))
    names = recipe.outputs or tuple(value.name for value in source.graph.output)
    absent = set(names) - {name for node in source.graph.node for name in node.output}
    if absent:
        given = ", ".join(value.name for value in source.graph.output)
        raise SourceError(f"--outputs {', '.join(sorted(absent))}: the graph gives {given}")
    shapes = infer_shapes(model)
    unknown = [name for name in names if name not in shapes]
    if unknown:
        raise GraphError(f"The shapes of {', '.join(unknown)} depend on what the image shows")
    return Network(
        graph=Graph(model),
        raw=names,
        head=choose_head(recipe, [shapes[name].dims for name in names]),
        reference=OnnxReference(source, names, image, pixels, fixed, unoptimized(source)),
        image_input=image,
        pixels=pixels,
        background_id=recipe.segment.background_id,
        facts=Facts(title=recipe.name, origin=f"onnx:{path.name}"),
    )


def _read(path: Path) -> onnx.ModelProto:
    try:
        model = onnx.load(path)
        onnx.checker.check_model(model)
    except (onnx.checker.ValidationError, ValueError, OSError) as error:
        raise SourceError(f"{path} is no valid ONNX file: {error}") from error
    except Exception as error:  # protobuf's DecodeError has no public home that is stable
        raise SourceError(f"{path} is no ONNX file: {error}") from error
    return model


def _entry(model: onnx.ModelProto) -> onnx.ValueInfoProto:
    constants = {tensor.name for tensor in model.graph.initializer}
    entries = [value for value in model.graph.input if value.name not in constants]
    if len(entries) != 1 or entries[0].type.tensor_type.elem_type != TensorProto.FLOAT:
        named = ", ".join(value.name for value in entries)
        raise SourceError(f"A network takes one float32 batch of pixel values; this one: {named}")
    if len(entries[0].type.tensor_type.shape.dim) != 4:
        raise SourceError(f"The input {entries[0].name} has no four axes, as a batch of images has")
    entry: onnx.ValueInfoProto = entries[0]
    return entry


def _size(entry: onnx.ValueInfoProto, pixels: Pixels) -> ImageInput | None:
    """Return the image size where the file fixes it, stretched, which fits any image."""
    dims = [dim.dim_value for dim in entry.type.tensor_type.shape.dim]
    height, width = dims[2:] if pixels.layout == "NCHW" else dims[1:3]
    if not height or not width:
        return None
    return ImageInput(height=height, width=width, resize="stretch")


def _pixel_dims(image_input: ImageInput, pixels: Pixels) -> tuple[int, int, int]:
    if pixels.layout == "NCHW":
        return (pixels.channels, image_input.height, image_input.width)
    return (image_input.height, image_input.width, pixels.channels)


def _of_opset(model: onnx.ModelProto) -> onnx.ModelProto:
    version = next((o.version for o in model.opset_import if o.domain in {"", "ai.onnx"}), 0)
    if version == OPSET:
        return model
    try:
        return version_converter.convert_version(model, OPSET)
    except RuntimeError as error:
        raise GraphError(f"From opset {version} to {OPSET}: {error}") from error
