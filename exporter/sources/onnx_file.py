"""`onnx:FILE`: a network that another tool exported to ONNX."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace

import numpy as np
import onnx
import onnxruntime
from numpy.typing import NDArray
from onnx import TensorProto

from exporter.batching import free_batch
from exporter.errors import GraphError
from exporter.finite import require_numbers
from exporter.graph import Graph, with_outputs
from exporter.heads.arrange import arrange
from exporter.heads.class_count import class_count
from exporter.heads.detect import DetectHead
from exporter.heads.metrics import relative_difference
from exporter.heads.one_output import SIX
from exporter.heads.own_suppression import gives_each_object_one_box, keeps_boxes_apart
from exporter.heads.raw_tensor import Tensor
from exporter.heads.score_origin import graph_origins
from exporter.heads.select_head import select_head
from exporter.network import Array, Facts, Head, Network, Outputs
from exporter.own_scaling import own_factor, settle_scale
from exporter.progress import Progress
from exporter.recipe import Pixels, Recipe
from exporter.sessions import alternating_session, optimized_session, unoptimized_session
from exporter.shapes import infer_shapes
from exporter.shortage import shortage
from exporter.sources.batch_refusal import batch_refusal, unsteady_refusal
from exporter.sources.foreign_operators import opset_of
from exporter.sources.found_graph import first_line, plain, read_file
from exporter.sources.found_input import (
    Entry,
    bind_entry,
    find_entry,
    say_free_size,
    settle_pixels,
    settle_size,
)
from exporter.sources.found_outputs import RawOutput, read_outputs, require_outputs
from exporter.sources.onnx_pixels import silent_parts, stated_pixels
from exporter.sources.ultralytics_metadata import (
    is_ultralytics,
    named_classes,
    refuse_other_tasks,
)
from exporter.training_mode import refuse_training
from exporter.transforms import pixel_values, plain_transform
from service.card import ImageInput

SAME = 1e-2
"""Outputs of two batch sizes may differ by this share: another size may run other kernels."""


@dataclass(frozen=True, slots=True)
class OnnxReference:
    """The unchanged file, in ONNX Runtime without optimizations; with all but one of them if the file is quantized.

    `part` is the batch at which the file runs, 0 for any. `model` is its plain form, whose layers can be looked at.
    """

    model: onnx.ModelProto
    outputs: tuple[RawOutput, ...]
    entry: Entry
    image_input: ImageInput
    pixels: Pixels
    part: int
    session: onnxruntime.InferenceSession
    name: str = f"the source file in ONNX Runtime {onnxruntime.__version__}"

    def pixels_of_image(self, body: bytes) -> NDArray[np.float32]:
        return plain_transform(self.image_input, self.pixels)(body)

    def pixels_of_frames(self, frames: NDArray[np.uint8]) -> NDArray[np.float32]:
        return pixel_values(frames, self.pixels)

    def run(self, pixels: NDArray[np.float32]) -> tuple[Array, ...]:
        size = self.part or len(pixels)
        parts = [self._run_part(pixels[i : i + size], size) for i in range(0, len(pixels), size)]
        return tuple(np.concatenate(same) for same in zip(*parts, strict=True))

    def own_outputs(self, body: bytes) -> Outputs | None:  # noqa: ARG002
        return None

    def layers(self, pixels: NDArray[np.float32]) -> Iterator[tuple[str, Array]]:
        shapes = infer_shapes(self.model, self.part or 1)
        names = [
            name
            for node in self.model.graph.node
            for name in node.output
            if name in shapes and shapes[name].is_float
        ]
        session = unoptimized_session(with_outputs(self.model, names))
        entry = session.get_inputs()[0].name
        size = self.part or len(pixels)
        values = session.run(names, {entry: _filled(pixels[:size], size)})
        yield from zip(names, values, strict=True)

    def _run_part(self, pixels: NDArray[np.float32], size: int) -> list[Array]:
        """Run at most `size` images; where there are fewer, the last one is repeated."""
        feed = self.entry.feed(_filled(pixels, size), self.image_input)
        values = self.session.run([output.name for output in self.outputs], feed)
        return [
            output.apply(value)[: len(pixels)]
            for output, value in zip(self.outputs, values, strict=True)
        ]


def load(where: str, recipe: Recipe, progress: Progress) -> Network:
    """Return the network in an ONNX file.

    Raises:
        SourceError: the file is missing, is not ONNX, or its inputs are not known.
        RecipeError: the recipe contradicts the file.
        GraphError: it can not be converted to the servable's form.
    """
    progress.begin("Read the network")
    path = recipe.locate(where)
    source = read_file(path)
    refuse_other_tasks(source, recipe)
    model = plain(source, path)
    given = recipe.pixels.model_dump(exclude_unset=True) if recipe.pixels else {}
    entry = find_entry(model, given.get("layout"), recipe.arguments)
    stated = stated_pixels(source)
    pixels = settle_pixels(entry, recipe, stated)
    image_input = settle_size(entry, recipe)
    if entry.size is None:
        say_free_size(recipe, image_input, progress)
    bound = bind_entry(model, entry, pixels, image_input)
    del model  # each copy of a large network is gigabytes
    assumed = () if entry.reads_bytes else recipe.assumed_pixels(stated)
    factor = own_factor(bound.graph, opset_of(bound))
    if stated is None and not entry.reads_bytes:
        unscaled = settle_scale(pixels, recipe, factor, progress)
        pixels, assumed = unscaled, assumed if unscaled == pixels else ()
    named = named_classes(source)
    states_suppression = "nms_free" in recipe.detect.model_fields_set
    recipe, outputs = _outputs(bound, entry, recipe, image_input, len(named or ()))
    _say_scores(bound, outputs, recipe, progress)
    names = [output.name for output in outputs]
    reference = OnnxReference(
        bound,
        tuple(outputs),
        entry,
        image_input,
        pixels,
        1 if any(output.form == "rows" for output in outputs) else entry.batch,
        _session(source, names),
    )
    freed, reference, max_batch = _freed(bound, reference, alone=recipe.proof.largest == 1)
    if max_batch is not None:
        why = "; its step sizes are those of all images of a batch" * _measures_batch(bound)
        progress.warn(
            f"the file computes one image at a time, and so does the servable (max_batch 1){why}"
        )
    graph = Graph(freed, opset_of(freed))
    raw = tuple(output.graft(graph) for output in outputs)
    return Network(
        graph=graph,
        raw=raw,
        head=_head(
            recipe,
            freed,
            outputs,
            image_input,
            own_classes=len(named or ()) if is_ultralytics(source) else None,
            states_suppression=states_suppression,
        ),
        reference=reference,
        image_input=image_input,
        pixels=pixels,
        background_id=recipe.segment.background_id,
        assumed=assumed,
        facts=Facts(title=recipe.name, origin=f"onnx:{path.name}", labels=named),
        max_batch=max_batch,
        own_factor=factor,
        silent=silent_parts(source),
    )


def _outputs(
    bound: onnx.ModelProto, entry: Entry, recipe: Recipe, image_input: ImageInput, labels: int
) -> tuple[Recipe, list[RawOutput]]:
    """Return the outputs that the head reads, in order, and the recipe with the decoder that suits them."""
    names = require_outputs(recipe, bound)
    batch = entry.batch or 1
    shapes = infer_shapes(bound, batch)
    single = {
        name: replace(shape, dims=(1, *shape.dims[1:]))
        if shape.dims and shape.dims[0] == batch
        else shape
        for name, shape in shapes.items()
    }
    found = read_outputs(bound, names, single, recipe, image_input)
    origins = graph_origins(bound, [one.name for one in found])
    tensors = [
        Tensor(one.name, one.dims, single[one.name].is_integer, origins[one.name]) for one in found
    ]
    recipe, ordered = arrange(recipe, tensors, image_input, labels)
    by_name = {one.name: one for one in found}
    outputs = [by_name[one.name] for one in ordered]
    if recipe.task == "classify":
        _refuse_whole_numbers(outputs[0])
    if recipe.task == "detect" and recipe.detect.decoder in _PAIRS and len(outputs) > 1:
        outputs[1] = _scores_last(outputs[1], outputs[0].dims[1])
    decoder = recipe.detect.decoder if recipe.task == "detect" else ""
    return recipe, [
        replace(one, is_ids=index == _CLASS_IDS.get(decoder))
        for index, one in enumerate(outputs[: _COUNTS.get(decoder, 1)])
    ]


def _refuse_whole_numbers(scores: RawOutput) -> None:
    """Refuse a classifier's scores that are whole numbers by their type.

    Raises:
        GraphError: they are; they may as well be ranks or class ids.
    """
    if scores.dtype not in _NO_WHOLE_NUMBERS:
        raise GraphError(
            f"The output {scores.name!r} {scores.dims} has whole numbers: ranks or class ids are no scores, and "
            "rounded scores have lost what a probability is made of. Export the network with the scores before they "
            "are rounded, or name that tensor with --outputs"
        )


def _say_scores(
    bound: onnx.ModelProto, outputs: Sequence[RawOutput], recipe: Recipe, progress: Progress
) -> None:
    """Note which of several outputs are a classifier's scores, where the recipe does not name it."""
    others = [one.name for one in bound.graph.output if one.name != outputs[0].name]
    if recipe.task == "classify" and not recipe.outputs and others:
        progress.warn(
            f"the output {outputs[0].name} is taken for the scores, not {', '.join(others[:5])} (see --outputs)"
        )


_NO_WHOLE_NUMBERS = {
    *(TensorProto.FLOAT, TensorProto.FLOAT16, TensorProto.DOUBLE, TensorProto.BFLOAT16, TensorProto.BOOL),
}  # fmt: skip

_PAIRS = {"pair", "pair_objectness"}
_COUNTS = {"pair": 2, "mmdet": 2, "triple": 3, "pair_objectness": 3}
_CLASS_IDS = {"mmdet": 1, "triple": 2}
"""The output that holds class ids alone."""


def _scores_last(scores: RawOutput, boxes: int) -> RawOutput:
    """Return scores as (N, A, K), where the file has them as (N, K, A), or as (N, A) of one class."""
    dims = scores.dims
    if dims == (1, boxes) and scores.form == "plain":
        return replace(scores, form="one_class", dims=(*dims, 1))
    if len(dims) != 3 or dims[1] == boxes or dims[2] != boxes or scores.form != "plain":
        return scores
    return replace(scores, form="swapped", dims=(dims[0], dims[2], dims[1]))


def _head(
    recipe: Recipe,
    model: onnx.ModelProto,
    outputs: Sequence[RawOutput],
    image_input: ImageInput,
    *,
    own_classes: int | None,
    states_suppression: bool,
) -> Head:
    """Return the head.

    `own_classes` is not None where the tool that wrote the file has one form of boxes for these outputs, and class ids
    from 0: how many it names, 0 for none. `states_suppression` is whether the user says if each object has one box.
    """
    head = select_head(recipe, [output.dims for output in outputs], image_input)
    if not isinstance(head, DetectHead):
        return head
    if own_classes is not None:
        head = replace(head, assumed=(), is_written_so=True)
    if head.recipe.decoder in {"end2end", SIX, "mmdet", "triple"}:
        known = class_count(model, outputs[-1].name) or own_classes or None
        head = replace(head, known_classes=known)
    if (
        head.recipe.decoder in {"mmdet", "triple"}
        and "nms_free" not in recipe.detect.model_fields_set
    ):
        free = gives_each_object_one_box(model, head.anchors)
        head = replace(head, recipe=head.recipe.model_copy(update={"nms_free": free}))
    assumes = head.recipe.nms_free and not states_suppression
    by_form = assumes and own_classes is None and not keeps_boxes_apart(model.graph)
    return replace(head, assumes_nms_free=assumes, is_free_by_form=by_form)


def _session(source: onnx.ModelProto, names: Sequence[str]) -> onnxruntime.InferenceSession:
    is_quantized = _is_quantized(source)
    try:
        return alternating_session(
            _giving(source, names), optimized=is_quantized, keeps_pads=is_quantized
        )
    except Exception as error:  # ONNX Runtime raises classes of its own for every status, unrelated
        raise GraphError(
            f"ONNX Runtime {onnxruntime.__version__} does not read the file (opset {opset_of(source)}): "
            f"{first_line(error)}. {_after_refusal(source, str(error))}"
        ) from error


def _after_refusal(model: onnx.ModelProto, refusal: str) -> str:
    """Return the next step where ONNX Runtime does not read a file.

    It has kernels for few layers in double and bfloat16, whatever the opset.
    """
    tensors = [
        *model.graph.initializer,
        *(one.t for node in model.graph.node for one in node.attribute if one.HasField("t")),
    ]
    wide = {TensorProto.DOUBLE: "double", TensorProto.BFLOAT16: "bfloat16"}
    kinds = {wide[tensor.data_type] for tensor in tensors if tensor.data_type in wide}
    if "Could not find an implementation" in refusal and kinds:
        return (
            f"The network computes in {' and '.join(sorted(kinds))}, for which ONNX Runtime has few layers on a CPU. "
            "Let it compute in float32 (model.float()), and export it again"
        )
    return "Export the network again with opset 18"


def _freed(
    bound: onnx.ModelProto, reference: OnnxReference, *, alone: bool
) -> tuple[onnx.ModelProto, OnnxReference, int | None]:
    """Return the model with a free batch, the reference at a batch at which it runs, and 1 where only one image fits.

    With `alone` the file is meant for one image at a time: what it computes for more of them does not count.

    Raises:
        GraphError: one image alone does not give what it gives in its batch, or another result each time.
        ProofError: the network computes values that are no numbers.
    """
    # At the batch at which a file is fixed, it computes the right values though nothing was freed.
    count = 4 if reference.part == 3 else 3
    size = (count, reference.image_input.height, reference.image_input.width, 3)
    noise = np.random.default_rng(0).integers(0, 256, size, dtype=np.uint8)
    noise[-1] //= 8  # so that the largest value and the mean of a batch are not those of each image
    frames = reference.pixels_of_frames(noise)
    if reference.part == 0 and (alone or _measures_batch(bound) or not _runs(reference, frames)):
        reference = replace(reference, part=1)
    expected = _expected(reference, frames)
    if (freed := _as_expected(bound, reference, frames, expected)) is not None:
        return freed.model, reference, freed.max_batch
    refuse_training(bound)
    what = "The network's result for an image of random pixels"
    require_numbers(expected, what, lambda: reference.layers(frames[:1]))
    if not _is_same(_expected(reference, frames), expected):
        raise GraphError(unsteady_refusal())
    # Rounding in the threads of another session changes which of two boxes of about one score suppresses the other. In
    # a session of the same kind both are rounded alike; whether the boxes are right is for the proof on real images.
    rounded = _bound_values(bound, reference, frames)
    if rounded and (freed := _as_expected(bound, reference, frames, rounded)) is not None:
        return freed.model, reference, freed.max_batch
    if reference.part == 0 and not _is_alone(reference, frames, expected):
        raise GraphError(
            "The answer for an image depends on the others of its batch: on random pixels it is another one alone than "
            "beside a second image. Does the graph take a softmax, a mean or a normalization over the batch, as a "
            "softmax behind a Reshape to (1, -1) is? Export the network again with it over the classes (axis 1), or "
            "give --largest-batch 1 if it is meant for one image at a time"
        )
    raise GraphError(batch_refusal(reference.entry.batch, reference.part))


@dataclass(frozen=True, slots=True)
class _Freed:
    """A model with a free batch; `max_batch` is 1 where it computes one image at a time, None for any."""

    model: onnx.ModelProto
    max_batch: int | None


def _as_expected(
    bound: onnx.ModelProto,
    reference: OnnxReference,
    frames: NDArray[np.float32],
    expected: Sequence[Array],
) -> _Freed | None:
    """Return the model with a free batch that computes the expected values, at least for one image; None for none."""
    if not (any(output.form == "rows" for output in reference.outputs) or _measures_batch(bound)):
        for model in _candidates(bound):
            if _computes(model, reference, frames, expected):
                return _Freed(model, None)
    first = tuple(value[:1] for value in expected)
    for model in _candidates(bound):
        if _computes(model, reference, frames[:1], first):
            return _Freed(model, 1)
    return None


def _is_alone(
    reference: OnnxReference, frames: NDArray[np.float32], expected: Sequence[Array]
) -> bool:
    """Return whether the file computes for one image alone what it computes for it in a batch."""
    first = tuple(value[:1] for value in expected)
    return _is_same(_expected(reference, frames[:1]), first)


def _is_same(found: Sequence[Array], expected: Sequence[Array]) -> bool:
    """Return whether outputs are about the same; the order of detections may differ."""
    return all(
        one.shape == other.shape and relative_difference(_sorted(one), _sorted(other)) <= SAME
        for one, other in zip(found, expected, strict=True)
    )


def _is_quantized(model: onnx.ModelProto) -> bool:
    """Return whether ONNX Runtime replaces layers of the file by kernels for integers.

    Node by node, such layers are computed in float and rounded: in EfficientNet-Lite0 the logits of the two differ by
    up to 0.07 of the largest. What a user of the file gets, and what the service computes, are the kernels.
    """
    nodes = [*model.graph.node, *(node for one in model.functions for node in one.node)]
    return any(node.op_type in {"QuantizeLinear", "DynamicQuantizeLinear"} for node in nodes)


def _measures_batch(model: onnx.ModelProto) -> bool:
    """Return whether a layer takes its step size from all images of a batch, which then change each other's results."""
    return any(node.op_type == "DynamicQuantizeLinear" for node in model.graph.node)


def _giving(model: onnx.ModelProto, names: Sequence[str]) -> onnx.ModelProto:
    """Return the model, or a copy of it where some of these tensors are none of its outputs."""
    known = {value.name for value in model.graph.output}
    return model if known >= set(names) else with_outputs(model, names)


def _candidates(bound: onnx.ModelProto) -> Iterator[onnx.ModelProto]:
    """Yield the ways to free the batch; the second one is made only if the first is not right."""
    yield free_batch(bound)
    yield free_batch(bound, windows=True)


def _runs(reference: OnnxReference, frames: NDArray[np.float32]) -> bool:
    try:
        return all(len(value) == len(frames) for value in reference.run(frames))
    except Exception as error:  # ONNX Runtime raises classes of its own for every status, unrelated
        if shortage(error) is not None:
            raise
        return False


def _expected(reference: OnnxReference, frames: NDArray[np.float32]) -> tuple[Array, ...]:
    try:
        return reference.run(frames)
    except Exception as error:  # ONNX Runtime raises classes of its own for every status, unrelated
        size = f"{reference.image_input.height}×{reference.image_input.width}"
        free = "" if reference.entry.size else " Is this the right size (--height, --width)?"
        raise GraphError(
            f"ONNX Runtime does not run the file on an image of {size}: {first_line(error)}.{free}"
        ) from error


def _bound_values(
    bound: onnx.ModelProto, reference: OnnxReference, frames: NDArray[np.float32]
) -> tuple[Array, ...] | None:
    """Return what the model with its own batch computes in a session as `_computes` makes it, None if it can not."""
    size = reference.part or len(frames)
    parts = []
    for start in range(0, len(frames), size):
        values = _values(bound, reference, _filled(frames[start : start + size], size))
        if values is None:
            return None
        parts.append(values)
    return tuple(np.concatenate(same)[: len(frames)] for same in zip(*parts, strict=True))


def _computes(
    model: onnx.ModelProto,
    reference: OnnxReference,
    frames: NDArray[np.float32],
    expected: Sequence[Array],
) -> bool:
    """Return whether the model computes about this for the frames."""
    found = _values(model, reference, frames)
    return found is not None and _is_same(found, expected)


def _values(
    model: onnx.ModelProto, reference: OnnxReference, frames: NDArray[np.float32]
) -> list[Array] | None:
    """Return what the model computes for a batch, None if it can not compute it."""
    names = [output.name for output in reference.outputs]
    try:
        given = _giving(model, names)
        session = (
            optimized_session(given, keeps_pads=True)
            if _is_quantized(model)
            else unoptimized_session(given)
        )
        values = session.run(names, {session.get_inputs()[0].name: frames})
    except Exception as error:  # ONNX Runtime raises classes of its own for every status, unrelated
        if shortage(error) is not None:
            raise
        return None
    return [output.apply(value) for output, value in zip(reference.outputs, values, strict=True)]


def _sorted(values: Array) -> Array:
    values = values.astype(np.float64)
    return np.sort(values, axis=1) if values.ndim == 3 else values


def _filled(pixels: NDArray[np.float32], size: int) -> NDArray[np.float32]:
    """Return the images, and the last one again until there are as many as `size`."""
    missing = size - len(pixels)
    return np.concatenate([pixels, np.repeat(pixels[-1:], missing, axis=0)]) if missing else pixels
