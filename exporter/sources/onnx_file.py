"""`onnx:FILE`: a network that another tool exported to ONNX."""

import ast
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
from exporter.graph import OPSET, Graph, with_outputs
from exporter.heads.select_head import select_head
from exporter.network import Array, Facts, Network, Outputs
from exporter.progress import Progress
from exporter.recipe import Pixels, Recipe
from exporter.sessions import unoptimized_session
from exporter.shapes import infer_shapes
from exporter.sources.onnx_pixels import stated_pixels
from exporter.transforms import pixel_values, plain_transform
from service.card import ImageInput


@dataclass(frozen=True, slots=True)
class OnnxReference:
    """The unchanged file, in ONNX Runtime without optimizations.

    A graph with a fixed batch of one is run image by image.
    """

    model: onnx.ModelProto
    outputs: tuple[str, ...]
    image_input: ImageInput
    pixels: Pixels
    one_at_a_time: bool
    session: onnxruntime.InferenceSession
    name: str = f"the source file in ONNX Runtime {onnxruntime.__version__}"

    def pixels_of_image(self, body: bytes) -> NDArray[np.float32]:
        return plain_transform(self.image_input, self.pixels)(body)

    def pixels_of_frames(self, frames: NDArray[np.uint8]) -> NDArray[np.float32]:
        return pixel_values(frames, self.pixels)

    def run(self, pixels: NDArray[np.float32]) -> tuple[Array, ...]:
        return tuple(self._run(self.session, self.outputs, pixels))

    def own_outputs(self, body: bytes) -> Outputs | None:  # noqa: ARG002
        return None

    def layers(self, pixels: NDArray[np.float32]) -> Iterator[tuple[str, Array]]:
        shapes = infer_shapes(self.model)
        names = [
            name
            for node in self.model.graph.node
            for name in node.output
            if name in shapes and shapes[name].is_float
        ]
        probe = with_outputs(self.model, names)
        yield from zip(names, self._run(unoptimized_session(probe), names, pixels), strict=True)

    def _run(
        self,
        session: onnxruntime.InferenceSession,
        names: Sequence[str],
        pixels: NDArray[np.float32],
    ) -> list[Array]:
        entry = session.get_inputs()[0].name
        parts = [pixels[i : i + 1] for i in range(len(pixels))] if self.one_at_a_time else [pixels]
        outputs = [session.run(list(names), {entry: part}) for part in parts]
        return [np.concatenate(same) for same in zip(*outputs, strict=True)]


def load(where: str, recipe: Recipe, progress: Progress) -> Network:
    """Return the network in an ONNX file.

    Raises:
        SourceError: the file is missing, is not ONNX, or has more than one input.
        GraphError: it can not be converted to the servable's opset, or its batch can not be freed.
    """
    progress.begin("Read the network")
    path = recipe.locate(where)
    source = _read(path)
    entry = _entry(source)
    known_pixels = stated_pixels(source)
    pixels = recipe.pixel_values(known_pixels)
    image_input = recipe.image_input(_size(entry, pixels))
    fixed = entry.type.tensor_type.shape.dim[0].dim_value == 1
    model = free_batch(_of_opset(source), pixels.shape(image_input))
    names = recipe.outputs or tuple(value.name for value in source.graph.output)
    absent = set(names) - {name for node in source.graph.node for name in node.output}
    if absent:
        known = ", ".join(value.name for value in source.graph.output)
        raise SourceError(f"--outputs {', '.join(sorted(absent))}: the graph's outputs are {known}")
    shapes = infer_shapes(model)
    unknown = [name for name in names if name not in shapes]
    if unknown:
        raise GraphError(f"The shapes of {', '.join(unknown)} depend on the content of the image")
    return Network(
        graph=Graph(model),
        raw=names,
        head=select_head(recipe, [shapes[name].dims for name in names]),
        reference=OnnxReference(
            source, names, image_input, pixels, fixed, unoptimized_session(source)
        ),
        image_input=image_input,
        pixels=pixels,
        background_id=recipe.segment.background_id,
        assumed=recipe.assumed_pixels(known_pixels),
        facts=Facts(title=recipe.name, origin=f"onnx:{path.name}", labels=_named_classes(source)),
    )


def _named_classes(model: onnx.ModelProto) -> tuple[str, ...] | None:
    """Return the labels that Ultralytics writes into a file's metadata, as `{0: 'person', 1: 'bicycle'}`."""
    written = {entry.key: entry.value for entry in model.metadata_props}.get("names", "")
    try:
        names = ast.literal_eval(written)
    except (ValueError, SyntaxError):
        return None
    if not isinstance(names, dict) or sorted(map(str, names)) != sorted(
        map(str, range(len(names)))
    ):
        return None
    return tuple(str(names[class_id]) for class_id in sorted(names, key=int)) or None


def _read(path: Path) -> onnx.ModelProto:
    try:
        model = onnx.load(path)
        onnx.checker.check_model(model)
    except (onnx.checker.ValidationError, ValueError, OSError) as error:
        raise SourceError(f"{path} is not a valid ONNX file: {error}") from error
    except Exception as error:  # protobuf's DecodeError has no public home that is stable
        raise SourceError(f"{path} is not an ONNX file: {error}") from error
    return model


def _entry(model: onnx.ModelProto) -> onnx.ValueInfoProto:
    constants = {tensor.name for tensor in model.graph.initializer}
    entries = [value for value in model.graph.input if value.name not in constants]
    if len(entries) != 1 or entries[0].type.tensor_type.elem_type != TensorProto.FLOAT:
        names = ", ".join(value.name for value in entries)
        raise SourceError(
            f"A network must have one input, a float32 batch of pixel values; this one has {names}"
        )
    if len(entries[0].type.tensor_type.shape.dim) != 4:
        raise SourceError(
            f"The input {entries[0].name} must have four axes, as a batch of images has"
        )
    entry: onnx.ValueInfoProto = entries[0]
    return entry


def _size(entry: onnx.ValueInfoProto, pixels: Pixels) -> ImageInput | None:
    """Return the input size where the file fixes it; images are stretched to it, since the file states no policy."""
    dims = [dim.dim_value for dim in entry.type.tensor_type.shape.dim]
    height, width = dims[2:] if pixels.layout == "NCHW" else dims[1:3]
    if not height or not width:
        return None
    return ImageInput(height=height, width=width, resize="stretch")


def _of_opset(model: onnx.ModelProto) -> onnx.ModelProto:
    version = next((o.version for o in model.opset_import if o.domain in {"", "ai.onnx"}), 0)
    if version == OPSET:
        return model
    try:
        return version_converter.convert_version(model, OPSET)
    except RuntimeError as error:
        raise GraphError(
            f"The graph can not be converted from opset {version} to {OPSET}: {error}"
        ) from error
