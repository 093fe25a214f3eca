"""A proved fp32 graph → the same graph in fp16 or int8, kept only if its outputs agree with those in fp32."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from functools import partial
from time import perf_counter

import numpy as np
import onnx
from numpy.typing import NDArray

from exporter.errors import ProofError
from exporter.half import halve
from exporter.heads.classify import ClassifyHead
from exporter.int8 import quantize
from exporter.network import Head, Outputs
from exporter.outcome import MEASURED_BATCHES, Measured
from exporter.progress import Progress
from exporter.proof import run_graph
from exporter.recipe import Precision
from exporter.sessions import optimized_session
from service.card import INPUT_NAME

AGREEMENT = 0.99
TOLERANCES: dict[Precision, float] = {"fp32": 1e-3, "fp16": 0.02, "int8": 0.1}
"""How much a precision may change a probability or a score that a caller reads; the card states it."""

SOFTMAX_INT8 = 0.3
"""The same for the class probabilities of a softmax in int8, of which the largest change of all images counts.

EfficientNet-Lite0 with all layers in int8, on 280 views of photographs that it was not calibrated with: the largest
change is 0.25, that of 99 % of the views at most 0.18, and 6 % have more than 0.1. In the 143 views in which fp32 gives
a class more than 0.3, the best class stays the same in 99.3 %. So 0.1 would refuse a sound network for its tail."""

ENOUGH_IMAGES = 8
"""On fewer images a precision is judged with a warning; variants need as many clear results."""

MEASURED_SECONDS = 1.0
MOST_RUNS, LEAST_RUNS = 1000, 3
"""A tiny network would run a hundred thousand times in a second, and its median is known long before."""


def tolerance_of(precision: Precision, head: Head) -> float:
    """Return how much a precision may change a probability or a score that a caller of this task reads."""
    if precision == "int8" and isinstance(head, ClassifyHead) and head.activation == "softmax":
        return SOFTMAX_INT8
    return TOLERANCES[precision]


@dataclass(frozen=True, slots=True)
class Reduced:
    """A graph in one precision, and what was measured of it."""

    model: onnx.ModelProto
    measured: Measured


def reduce_precision(
    model: onnx.ModelProto,
    head: Head,
    frames: NDArray[np.uint8],
    requested: Sequence[Precision],
    progress: Progress,
    *,
    max_batch: int | None = None,
) -> tuple[Reduced, tuple[Measured, ...]]:
    """Return the model in the first requested precision that agrees with fp32, and what was measured of each.

    fp32 is always measured too. Every second frame is calibrated with; the agreement is that of the others.

    Args:
        model: the graph in fp32.
        head: compares the outputs.
        frames: uint8 (N, H, W, 3).
        requested: precisions in order of preference.
        progress: gets a step for each precision.
        max_batch: the largest batch that the graph computes, None for any.

    Raises:
        ProofError: no requested precision reaches 99 %, and the message has the agreement of each; or int8 is
            requested, and there is one image.
    """
    if len(frames) == 1 and "int8" in requested:
        raise ProofError(
            "--precision int8 is calibrated with every second image and judged on the others, and there is one image. "
            "Give more with --images and --image-limit"
        )
    calibration, held_out = (frames[::2], frames[1::2]) if len(frames) > 1 else (frames, frames)
    if len(held_out) < ENOUGH_IMAGES:
        progress.warn(
            f"a precision is judged on few images here ({len(held_out)}), and others may differ more: give at least "
            f"{2 * ENOUGH_IMAGES} with --images and --image-limit"
        )
    expected = outputs_of_each(model, head, held_out)

    def agreement(other: onnx.ModelProto, precision: Precision) -> float:
        found = outputs_of_each(other, head, held_out)
        pairs = zip(found, expected, strict=True)
        return float(np.mean([_mark(head, f, e, tolerance_of(precision, head)) for f, e in pairs]))

    measured_at = partial(measure, frames=frames, max_batch=max_batch)
    reductions: dict[Precision, Reduced] = {
        "fp32": Reduced(model, measured_at(model, "fp32", agreement=1.0))
    }
    for precision in requested:
        if precision in reductions:
            continue
        progress.begin(f"Reduce to {precision}")
        if precision == "fp16":
            half = halve(model, partial(agreement, precision=precision), AGREEMENT, progress)
            measured = measured_at(
                half.model, precision, agreement=half.agreement, in_float=half.in_float
            )
            reductions[precision] = Reduced(half.model, measured)
        else:
            last_layer = head.task == "classify"
            found = quantize(
                model,
                calibration,
                partial(agreement, precision=precision),
                AGREEMENT,
                progress,
                last_layer=last_layer,
            )
            measured = measured_at(
                found.model, precision, agreement=found.agreement, in_float=found.in_float
            )
            reductions[precision] = Reduced(found.model, measured)
    chosen = _first_that_agrees(reductions, requested, head, len(held_out))
    table = (replace(one.measured, written=one is chosen) for one in reductions.values())
    return chosen, tuple(table)


def measure(
    model: onnx.ModelProto,
    precision: Precision,
    frames: NDArray[np.uint8],
    agreement: float,
    *,
    in_float: int = 0,
    max_batch: int | None = None,
) -> Measured:
    """Measure the time of a run at batch 1 and 8, where the graph computes as many, and the file's size."""
    batches = [batch for batch in MEASURED_BATCHES if max_batch is None or batch <= max_batch]
    milliseconds = {batch: milliseconds_of(model, frames, batch) for batch in batches}
    return Measured(precision, model.ByteSize() / 1e6, milliseconds, agreement, in_float)


def outputs_of_each(model: onnx.ModelProto, head: Head, frames: NDArray[np.uint8]) -> list[Outputs]:
    """Return the outputs for each frame in a batch of its own."""
    session = optimized_session(model)
    return [run_graph(session, frame[None], head.outputs) for frame in frames]


def _mark(head: Head, found: Outputs, expected: Outputs, tolerance: float) -> float:
    """Return the agreement on one image, 0 where a probability or score differs by more than the tolerance."""
    if not head.result_difference(found, expected) <= tolerance:
        return 0.0
    return head.agreement(found, expected, tolerance)[0]


def _first_that_agrees(
    reductions: dict[Precision, Reduced], requested: Sequence[Precision], head: Head, images: int
) -> Reduced:
    for precision in requested:
        if reductions[precision].measured.agreement >= AGREEMENT:
            return reductions[precision]
    reached = ", ".join(_reached(reductions[precision].measured) for precision in requested)
    raise ProofError(
        f"--precision {reached} ({head.metric}) agreement with fp32 on {images} images held back from the calibration, "
        f"{AGREEMENT:.0%} is required. An image agrees only if its probabilities or scores differ by at most "
        f"{', '.join(f'{tolerance_of(precision, head):g} ({precision})' for precision in requested)}. --variants in "
        "place of --precision keeps the servable in fp32 and writes such files beside it, judged by the clear results "
        "of all images together"
    )


def _reached(measured: Measured) -> str:
    kept = f" with {measured.in_float} layers left in float" if measured.in_float else ""
    return f"{measured.precision} reaches {measured.agreement:.1%}{kept}"


def milliseconds_of(model: onnx.ModelProto, frames: NDArray[np.uint8], batch: int = 1) -> float:
    """Return the median time of a run of a batch of the frames on this machine's CPU."""
    session = optimized_session(model)
    images = np.resize(frames, (batch, *frames.shape[1:]))
    session.run(None, {INPUT_NAME: images})
    return 1000 * median_seconds(lambda: session.run(None, {INPUT_NAME: images}))


def median_seconds(run: Callable[[], object], clock: Callable[[], float] = perf_counter) -> float:
    """Return the median time of a run: of at most 1,000 within a second, and of three where each takes longer."""
    seconds: list[float] = []
    until = clock() + MEASURED_SECONDS
    while len(seconds) < MOST_RUNS and (clock() < until or len(seconds) < LEAST_RUNS):
        begun = clock()
        run()
        seconds.append(clock() - begun)
    return float(np.median(seconds))
