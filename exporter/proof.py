"""The proof that a graph is the network it was made from: the same numbers, and the same results on whole samples.

One proof serves image networks and temporal heads. What differs between them is the `Subject`: what the graph reads,
and how the source computes the same outputs.
"""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from functools import partial
from importlib.metadata import PackageNotFoundError, version
from itertools import cycle, islice
from typing import Protocol

import numpy as np
import onnx
import onnxruntime
from numpy.typing import NDArray

from exporter.backbone import FEATURES
from exporter.errors import GraphError, ProofError
from exporter.finite import require_numbers
from exporter.heads.box_order import judge_order
from exporter.heads.class_ids import check_classes
from exporter.heads.classify import ClassifyHead
from exporter.heads.detect import DetectHead
from exporter.heads.metrics import relative_difference
from exporter.heads.score_refusal import refuse_no_class_scores
from exporter.heads.segment import SegmentHead
from exporter.heads.settle import settle_head
from exporter.independence import require_independence
from exporter.layer_diff import first_disagreement, optimized_away
from exporter.network import Array, Comparison, Network, Outputs
from exporter.progress import Progress
from exporter.recipe_tables import ProofRecipe
from exporter.sensitivity import allowed_by_rounding, computes_in_half
from exporter.sessions import alternating_session, unoptimized_session
from exporter.threads import beside, half_of_the_cores
from exporter.writing import WRITTEN_DIGEST, graph_digest
from service.card import Certificate, ImageInput
from service.imaging.decode import Limits
from service.imaging.resize import fit_encoded

BATCHES = (1, 2, 3, 7)
IMAGE_TOLERANCE = 0.05
"""How much a probability or score may differ on a whole image, whose pixels two decoders and two resizes make."""

LARGEST_DIFFERENCE = 0.999
"""A difference of 1.0, as large as the values themselves, passes at no tolerance."""

SETTLING_IMAGES = 16
"""The number of images on whose raw outputs the activation is settled, at most."""

BATCHES_SHARE = 0.3
"""The share of the proof's time that the comparison at each batch size takes; the rest are single images."""

_TOOLS = (
    "torch",
    "torchvision",
    "timm",
    "onnx",
    "onnxruntime-gpu",
    "onnxruntime",
    "pillow",
    "cykooz-resizer",
    "numpy",
)


class Subject(Protocol):
    """What is proved: samples, and the outputs that the source computes for them."""

    @property
    def comparison(self) -> Comparison: ...

    @property
    def reference(self) -> str:
        """Name and version of the source's framework."""

    @property
    def inputs(self) -> Array:
        """The graph's input for every sample; the first axis counts them."""

    @property
    def unit(self) -> str:
        """What a sample is, in the plural, for messages."""

    @property
    def advice(self) -> str:
        """What to check when the samples do not agree."""

    @property
    def max_batch(self) -> int | None: ...

    def expected(self, inputs: Array) -> Outputs:
        """Return the source's outputs for a batch of the graph's inputs."""

    def expected_of_sample(self, index: int) -> Outputs:
        """Return the source's outputs for one sample, all by its own means where it has them; a batch of one."""

    def allowed_by_rounding(self, inputs: Array) -> float:
        """Return the difference that rounding explains, by how much it changes the source's own outputs."""

    def layers(self, inputs: Array) -> Iterator[tuple[str, Array]]:
        """Yield the name and the output of each of the source's layers, in order."""


@dataclass(frozen=True, slots=True)
class ImageSubject:
    """An image network on encoded images.

    The graph reads what the service's own decode and resize make of an image; the source uses its framework's own
    decode and transforms, and its own postprocessing where it has one.
    """

    network: Network
    images: Sequence[bytes]
    inputs: NDArray[np.uint8]
    unit: str = "images"
    advice: str = "Is the input's size, resize policy or interpolation the one that the network was trained with?"

    @classmethod
    def of(cls, network: Network, images: Sequence[bytes]) -> "ImageSubject":
        """Return the subject with the images decoded and resized by the service's code."""
        return cls(network, images, fit_all(images, network.image_input))

    @property
    def comparison(self) -> Comparison:
        return self.network.head

    @property
    def reference(self) -> str:
        return self.network.reference.name

    @property
    def max_batch(self) -> int | None:
        return self.network.max_batch

    def expected(self, inputs: Array) -> Outputs:
        return self._expected_of_pixels(self.network.reference.pixels_of_frames(inputs))

    def expected_of_sample(self, index: int) -> Outputs:
        reference = self.network.reference
        own = reference.own_outputs(self.images[index])
        if own is not None:
            return own
        return self._expected_of_pixels(reference.pixels_of_image(self.images[index])[None])

    def allowed_by_rounding(self, inputs: Array) -> float:
        pixels = self.network.reference.pixels_of_frames(inputs)
        half = computes_in_half(self.network.graph)
        return allowed_by_rounding(self._expected_of_pixels, self.comparison, pixels, half=half)

    def _expected_of_pixels(self, pixels: NDArray[np.float32]) -> Outputs:
        raw = self.network.reference.run(pixels)
        return self.network.head.expected(raw, self.network.image_input)

    def layers(self, inputs: Array) -> Iterator[tuple[str, Array]]:
        reference = self.network.reference
        return reference.layers(reference.pixels_of_frames(inputs))


@half_of_the_cores()
def settled(subject: ImageSubject, labels: Sequence[str]) -> ImageSubject:
    """Return the subject with its head's activation settled by the source's raw outputs for some of the images.

    Raises:
        RecipeError: the recipe contradicts the outputs, or the outputs do not show what they are.
        ProofError: an output is NaN or infinite.
    """
    network = subject.network
    reference = network.reference
    outputs = [
        reference.run(reference.pixels_of_frames(frame[None]))
        for frame in subject.inputs[:SETTLING_IMAGES]
    ]
    for index, raw in enumerate(outputs):
        # Infinity may be right in raw outputs: the sigmoid of it is one.
        _require_numbers(subject, index, [np.nan_to_num(one, nan=np.nan) for one in raw])
    check_classes(network.head, outputs, labels)
    if isinstance(network.head, ClassifyHead):
        scores = [one[0].reshape(len(one[0]), -1) for one in outputs]
        refuse_no_class_scores(network.graph, network.raw[0], scores)
    if isinstance(network.head, SegmentHead) and network.head.channels > 1:
        refuse_no_class_scores(network.graph, network.raw[0], [one[0] for one in outputs])
    head = settle_head(network.head, network.graph, network.raw, outputs, network.image_input)
    if isinstance(head, DetectHead):
        head = judge_order(
            head,
            subject.inputs,
            outputs,
            network.image_input,
            lambda frames: reference.run(reference.pixels_of_frames(frames)),
        )
    return replace(subject, network=replace(network, head=head))


def _require_numbers(subject: Subject, index: int, values: Sequence[Array]) -> None:
    unit = subject.unit.removesuffix("s")
    one = subject.inputs[index : index + 1]
    what = f"The network's result for {unit} {index + 1} of {len(subject.inputs)}"
    require_numbers(values, what, lambda: subject.layers(one))


@half_of_the_cores()
def prove(
    model: onnx.ModelProto,
    subject: Subject,
    bounds: ProofRecipe,
    progress: Progress,
    result_tolerance: float | None = None,
    *,
    witness: Callable[[Outputs, Outputs], None] | None = None,
) -> Certificate:
    """Return the certificate that the graph computes what the subject's source does.

    Args:
        model: the graph.
        subject: the source, and samples for it.
        bounds: what the proof requires.
        progress: gets each batch size and the agreement.
        result_tolerance: for a reduced precision, how much the probabilities and scores that a caller reads may differ;
            the other outputs, such as features, are then not bounded. None for fp32, where every output is.
        witness: gets the graph's outputs and the source's for each sample, a batch of one each.

    Raises:
        GraphError: the graph does not run at a batch size.
        ProofError: the numbers differ by more than the tolerance or are none, the result of a sample depends on the
            others of its batch, or too few samples have the same result.
    """
    session = alternating_session(model)
    if result_tolerance is None:
        require_independence(
            lambda inputs: run_graph(session, inputs, subject.comparison.outputs),
            subject.comparison,
            subject.inputs,
            subject.max_batch,
            subject.unit,
        )
        difference, tolerance = _largest_difference(model, session, subject, bounds, progress)
    else:
        tolerance = result_tolerance
        difference = _result_difference(session, subject, bounds, tolerance)
    allowed = IMAGE_TOLERANCE + (result_tolerance or 0.0)
    see = witness or (lambda _found, _expected: None)
    agreement = _agreement(session, subject, bounds, allowed, progress, see=see)
    return Certificate(
        reference=subject.reference,
        batches=_batches(subject, bounds),
        max_difference=difference,
        tolerance=tolerance,
        metric=subject.comparison.metric,
        agreement=agreement,
        images=len(subject.inputs),
        tools=tool_versions(),
        date=datetime.now(UTC).date(),
        graph_sha256=graph_digest(model),
        digest=WRITTEN_DIGEST,
    )


def fit_all(images: Sequence[bytes], target: ImageInput) -> NDArray[np.uint8]:
    """Return the images as the service's own decode and resize make them: uint8 (N, H, W, 3)."""
    return np.stack([fit_encoded(body, target, Limits())[0] for body in images])


def run_graph(
    session: onnxruntime.InferenceSession, inputs: Array, names: Sequence[str]
) -> Outputs:
    """Return the named outputs for a batch of the graph's only input.

    Raises:
        GraphError: the graph does not run at this batch.
    """
    entry = session.get_inputs()[0].name
    try:
        found = session.run(list(names), {entry: inputs})
    except Exception as error:  # ONNX Runtime raises a class of its own for every status, unrelated
        raise GraphError(f"The graph does not run at batch {len(inputs)}: {error}") from error
    return dict(zip(names, found, strict=True))


def tool_versions() -> dict[str, str]:
    """Return the versions of the tools that took part, of those that are installed."""
    found = {}
    for tool in _TOOLS:
        try:
            found[tool] = version(tool)
        except PackageNotFoundError:
            continue
    return found


def _batches(subject: Subject, bounds: ProofRecipe) -> tuple[int, ...]:
    largest = subject.max_batch or bounds.largest
    return tuple(sorted({*(size for size in BATCHES if size < largest), largest}))


def _largest_difference(
    model: onnx.ModelProto,
    session: onnxruntime.InferenceSession,
    subject: Subject,
    bounds: ProofRecipe,
    progress: Progress,
) -> tuple[float, float]:
    """Compare at every batch size; return the largest difference and what is allowed.

    The source computes no `features`; those of the first sample must not depend on the batch. More than the tolerance
    is allowed where rounding explains it, unless the recipe states the tolerance (docs/decisions/0037).
    """
    comparison, batches = subject.comparison, _batches(subject, bounds)
    alone = run_graph(session, subject.inputs[:1], comparison.outputs)
    worst, allowed = 0.0, min(bounds.tolerance, LARGEST_DIFFERENCE)
    for index, size in enumerate(batches):
        batch = np.stack(list(islice(cycle(subject.inputs), size)))
        expected, found = beside(
            partial(subject.expected, batch), partial(run_graph, session, batch, comparison.outputs)
        )
        difference = _difference(comparison, found, expected, alone)
        if not difference <= allowed and "tolerance" not in bounds.model_fields_set:
            allowed = max(allowed, subject.allowed_by_rounding(batch))
        if not difference <= allowed:
            plain = unoptimized_session(model)
            found, alone = (
                run_graph(plain, inputs, comparison.outputs)
                for inputs in (batch, subject.inputs[:1])
            )
            by_node = _difference(comparison, found, expected, alone)
            where = (
                optimized_away(by_node)
                if by_node <= allowed
                else first_disagreement(model, subject.layers(batch[:2]), batch[:2])
            )
            raise ProofError(
                f"The graph differs from {subject.reference} by {difference:.2g} at batch {size}, "
                f"{allowed:.2g} is allowed. {where}"
            )
        worst = max(worst, difference)
        progress.advance(BATCHES_SHARE * (index + 1) / len(batches), f"batch {size}: {worst:.1e}")
    if allowed > bounds.tolerance:
        progress.warn(
            f"the difference of {worst:.2g} is more than {bounds.tolerance:.2g}. Rounding explains up to "
            f"{allowed:.2g}, by how much it changes the source's own outputs: layers are quantized, or they amplify "
            "rounding (--tolerance states what is allowed)"
        )
    return worst, allowed


def _difference(comparison: Comparison, found: Outputs, expected: Outputs, alone: Outputs) -> float:
    """Return how much outputs differ from the source's, or the features of the first sample from those of it alone."""
    difference = comparison.difference(found, expected)
    if FEATURES not in found:
        return difference
    return max(difference, relative_difference(found[FEATURES][:1], alone[FEATURES]))


def _result_difference(
    session: onnxruntime.InferenceSession,
    subject: Subject,
    bounds: ProofRecipe,
    tolerance: float,
) -> float:
    """Compare what a caller reads of every sample, at batches of each size in turn."""
    comparison, inputs = subject.comparison, subject.inputs
    worst, begin = 0.0, 0
    for size in cycle(_batches(subject, bounds)):
        batch = inputs[begin : begin + size]
        expected, found = beside(
            partial(subject.expected, batch), partial(run_graph, session, batch, comparison.outputs)
        )
        difference = comparison.result_difference(found, expected)
        if not difference <= tolerance:
            raise ProofError(
                f"The reduced graph's results differ from {subject.reference} by {difference:.2g} in probability or "
                f"score, {tolerance:.2g} is allowed. Use --precision fp32, or calibrate on more images of your own"
            )
        worst = max(worst, difference)
        begin += size
        if begin >= len(inputs):
            return worst
    return worst


def _agreement(
    session: onnxruntime.InferenceSession,
    subject: Subject,
    bounds: ProofRecipe,
    tolerance: float,
    progress: Progress,
    *,
    see: Callable[[Outputs, Outputs], None],
) -> float:
    """Compare sample by sample: the service's path on one side, the source's own on the other."""
    comparison, count = subject.comparison, len(subject.inputs)
    marks: list[float] = []
    for index in range(count):
        one = subject.inputs[index : index + 1]
        expected, found = beside(
            partial(subject.expected_of_sample, index),
            partial(run_graph, session, one, comparison.outputs),
        )
        see(found, expected)
        _require_numbers(subject, index, [*found.values(), *expected.values()])
        marks += comparison.agreement(found, expected, tolerance)
        progress.advance(
            BATCHES_SHARE + (1 - BATCHES_SHARE) * (index + 1) / count,
            f"{index + 1} of {count} {subject.unit}",
        )
    agreement = float(np.mean(marks))
    progress.advance(1, f"{comparison.metric} {agreement:.1%} of {count} {subject.unit}")
    if agreement < bounds.agreement:
        raise ProofError(
            f"Only {agreement:.1%} ({comparison.metric}) of {count} {subject.unit} agree with {subject.reference}; "
            f"{bounds.agreement:.0%} must. {subject.advice}"
        )
    return agreement
