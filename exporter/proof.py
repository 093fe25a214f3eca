"""The proof that a graph is the network it was made from: same numbers, same answers, from the same encoded bytes."""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from importlib.metadata import PackageNotFoundError, version
from itertools import cycle, islice

import numpy as np
import onnx
import onnxruntime
from numpy.typing import NDArray

from exporter.errors import GraphError, ProofError
from exporter.heads.metrics import relative_difference
from exporter.layer_diff import first_disagreement
from exporter.network import Network, Outputs
from exporter.progress import Steps
from exporter.recipe import ProofRecipe
from exporter.sessions import optimized
from exporter.writing import graph_digest
from service.card import INPUT_NAME, OUTPUTS, Certificate, ImageInput, Task
from service.imaging.decode import Limits
from service.imaging.resize import fit_encoded

BATCHES = (1, 2, 3, 7)
UNBOUNDED = 1.0
"""A difference as large as the answer itself: from there on it is not told more exactly."""

_TOOLS = (
    "torch",
    "torchvision",
    "timm",
    "onnx",
    "onnxruntime-gpu",
    "onnxruntime",
    "pillow",
    "numpy",
)


@dataclass(frozen=True, slots=True)
class Claim:
    """What is to be proved: that this serialized model is that network, within these bounds."""

    model: onnx.ModelProto
    network: Network
    task: Task
    bounds: ProofRecipe

    @property
    def batches(self) -> tuple[int, ...]:
        largest = self.network.max_batch or self.bounds.largest
        return tuple(sorted({*(size for size in BATCHES if size < largest), largest}))


def prove(claim: Claim, images: Sequence[bytes], steps: Steps) -> Certificate:
    """Return the certificate.

    Raises:
        ProofError: the numbers differ by more than the tolerance, or too few images get the same answer.
    """
    session = optimized(claim.model)
    frames = fit_all(images, claim.network.image_input)
    difference = _largest_difference(claim, session, frames, steps)
    agreement = _agreement(claim, session, frames, images, steps)
    return Certificate(
        reference=claim.network.reference.name,
        batches=claim.batches,
        max_difference=difference,
        tolerance=claim.bounds.tolerance,
        metric=claim.network.head.metric,
        agreement=agreement,
        images=len(images),
        tools=tool_versions(),
        date=datetime.now(UTC).date(),
        graph_sha256=graph_digest(claim.model),
    )


def fit_all(images: Sequence[bytes], target: ImageInput) -> NDArray[np.uint8]:
    """Return the images as the service's own decode and resize make them: uint8 (N, H, W, 3)."""
    return np.stack([fit_encoded(body, target, Limits())[0] for body in images])


def run_graph(
    session: onnxruntime.InferenceSession, frames: NDArray[np.uint8], task: Task
) -> Outputs:
    """Return the contract's outputs for a batch of frames.

    Raises:
        GraphError: the graph does not run at this batch.
    """
    names = OUTPUTS[task]
    try:
        found = session.run(names, {INPUT_NAME: frames})
    except Exception as error:  # ONNX Runtime raises a class of its own for every status, unrelated
        raise GraphError(f"The graph does not run at batch {len(frames)}: {error}") from error
    return dict(zip(names, found, strict=True))


def tool_versions() -> dict[str, str]:
    """Return the versions of the tools that took part, as far as they are installed."""
    found = {}
    for tool in _TOOLS:
        try:
            found[tool] = version(tool)
        except PackageNotFoundError:
            continue
    return found


def _largest_difference(
    claim: Claim,
    session: onnxruntime.InferenceSession,
    frames: NDArray[np.uint8],
    steps: Steps,
) -> float:
    """Compare at every batch size; features, which the source does not give, must not depend on the batch."""
    reference, head = claim.network.reference, claim.network.head
    worst = 0.0
    alone = run_graph(session, frames[:1], claim.task)["features"]
    for index, size in enumerate(claim.batches):
        batch = np.stack(list(islice(cycle(frames), size)))
        found = run_graph(session, batch, claim.task)
        pixels = reference.pixels_of_frames(batch)
        expected = head.expected(reference.run(pixels), claim.network.image_input)
        difference = max(
            head.difference(found, expected), relative_difference(found["features"][:1], alone)
        )
        if not difference <= claim.bounds.tolerance and claim.bounds.tolerance < UNBOUNDED:
            raise ProofError(
                f"The graph differs from {reference.name} by {difference:.2g} at batch {size}, "
                f"{claim.bounds.tolerance:.2g} is allowed. {first_disagreement(claim.model, reference, batch[:2])}"
            )
        worst = max(worst, min(difference, UNBOUNDED))
        steps.advance((index + 1) / (len(claim.batches) + 1), f"batch {size}: {worst:.1e}")
    return worst


def _agreement(
    claim: Claim,
    session: onnxruntime.InferenceSession,
    frames: NDArray[np.uint8],
    images: Sequence[bytes],
    steps: Steps,
) -> float:
    """Measure from encoded bytes: the service's path on one side, the framework's on the other."""
    reference, head = claim.network.reference, claim.network.head
    marks: list[float] = []
    for frame, body in zip(frames, images, strict=True):
        found = run_graph(session, frame[None], claim.task)
        expected = reference.own_answer(body)
        if expected is None:
            raw = reference.run(reference.pixels_of_image(body)[None])
            expected = head.expected(raw, claim.network.image_input)
        marks += head.agreement(found, expected)
    agreement = float(np.mean(marks))
    steps.advance(1, f"{head.metric} {agreement:.1%} of {len(images)} images")
    if agreement < claim.bounds.agreement:
        raise ProofError(
            f"From encoded bytes only {agreement:.1%} ({head.metric}) of {len(images)} images agree with "
            f"{reference.name}; {claim.bounds.agreement:.0%} are asked. Is the input's size, resize policy or "
            "interpolation the one the network was trained with?"
        )
    return agreement
