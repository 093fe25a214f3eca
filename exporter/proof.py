"""The proof that a graph is the network it was made from: the same numbers, and the same results on whole samples.

One proof serves image networks and temporal heads. What differs between them is the `Subject`: what the graph reads,
and how the source computes the same outputs.
"""

from collections.abc import Callable, Sequence
from datetime import UTC, datetime
from functools import partial
from importlib.metadata import PackageNotFoundError, version
from itertools import cycle, islice

import numpy as np
import onnx
import onnxruntime

from exporter.backbone import FEATURES
from exporter.errors import GraphError, ProofError
from exporter.heads.metrics import relative_difference
from exporter.independence import require_independence
from exporter.layer_diff import first_disagreement, optimized_away
from exporter.network import Array, Comparison, Outputs
from exporter.one_color import warn_of_one_color
from exporter.progress import Progress
from exporter.recipe_tables import ProofRecipe
from exporter.room import require_room
from exporter.sessions import alternating_session, unoptimized_session
from exporter.subject import ImageSubject, Subject, require_finite
from exporter.threads import beside, half_of_the_cores
from exporter.writing import WRITTEN_DIGEST, graph_digest
from service.card import Certificate

BATCHES = (1, 2, 3, 7)
USUAL_BATCH = 16
"""Only for a larger one, which somebody has to state, the memory is looked at first."""

IMAGE_TOLERANCE = 0.05
"""How much a probability or score may differ on a whole image, whose pixels two decoders and two resizes make."""

_ANY_DIFFERENCE = 1.0
"""No two probabilities differ by more."""

LARGEST_DIFFERENCE = 0.999
"""A difference of 1.0, as large as the values themselves, passes at no tolerance."""

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

        def run(inputs: Array) -> Outputs:
            return run_graph(session, inputs, subject.comparison.outputs)

        require_independence(
            run, subject.comparison, subject.inputs, subject.max_batch, subject.unit
        )
        warn_of_one_color(run, subject.inputs, progress)
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
    if batches[-1] > USUAL_BATCH:
        require_room(model, batches[-1])
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
    results: list[float] = []
    for index in range(count):
        one = subject.inputs[index : index + 1]
        expected, found = beside(
            partial(subject.expected_of_sample, index),
            partial(run_graph, session, one, comparison.outputs),
        )
        see(found, expected)
        require_finite(subject, index, [*found.values(), *expected.values()])
        marks += comparison.agreement(found, expected, tolerance)
        results += comparison.agreement(found, expected, _ANY_DIFFERENCE)
        progress.advance(
            BATCHES_SHARE + (1 - BATCHES_SHARE) * (index + 1) / count,
            f"{index + 1} of {count} {subject.unit}",
        )
    agreement = float(np.mean(marks))
    progress.advance(1, f"{comparison.metric} {agreement:.1%} of {count} {subject.unit}")
    if agreement < bounds.agreement:
        same = _on_same_inputs(session, subject, tolerance)
        raise ProofError(
            f"Only {agreement:.1%} ({comparison.metric}) of {count} {subject.unit} agree with {subject.reference}; "
            f"{bounds.agreement:.0%} must. {_why(agreement, float(np.mean(results)), tolerance)}"
            f"{subject.advice}{_same_inputs(same, bounds.agreement, subject)}"
        )
    return agreement


def _on_same_inputs(
    session: onnxruntime.InferenceSession, subject: Subject, tolerance: float
) -> float:
    """Return the agreement where the source gets what the graph gets, and decodes and resizes nothing itself."""
    comparison = subject.comparison
    marks: list[float] = []
    for index in range(len(subject.inputs)):
        one = subject.inputs[index : index + 1]
        found = run_graph(session, one, comparison.outputs)
        marks += comparison.agreement(found, subject.expected(one), tolerance)
    return float(np.mean(marks))


def _why(agreement: float, results: float, tolerance: float) -> str:
    """Return how many would agree by their results alone, where scores that differ too much are the reason."""
    if results <= agreement:
        return ""
    return f"{results:.1%} have the same result, some with scores that differ by more than {tolerance:g}. "


def _same_inputs(same: float, enough: float, subject: Subject) -> str:
    """Return the share that agrees where both sides get the same pixels, and what follows if it is enough."""
    if not isinstance(subject, ImageSubject):
        return ""  # both sides get the same numbers anyway
    share = f" From the same pixels {same:.1%} agree"
    if same < enough:
        return f"{share}."
    return (
        f"{share}: the conversion is right, and what differs is the service's decode "
        "and resize, which round otherwise and decode a JPEG much larger than the input at a reduced scale. If size, "
        "resize policy and interpolation are right, this network's results change with that. Prove it with "
        f"{subject.unit} like those that it will get (--images FOLDER), or state the share that is enough (--agreement)"
    )
