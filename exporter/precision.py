"""A proved fp32 graph → the same in fp16 or int8, kept only as far as it agrees with itself."""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from time import perf_counter

import numpy as np
import onnx
import onnxruntime
from numpy.typing import NDArray
from onnxruntime.transformers.float16 import DEFAULT_OP_BLOCK_LIST, convert_float_to_float16

from exporter.errors import ProofError
from exporter.graph import GRAFT_PREFIX
from exporter.int8 import cleaned, quantize
from exporter.network import Head, Outputs
from exporter.progress import Steps
from exporter.proof import run_graph
from exporter.quiet import quietly
from exporter.recipe import Precision
from exporter.sessions import optimized
from service.card import INPUT_NAME

AGREEMENT = 0.99
MEASURED_SECONDS = 1.0
_KEPT_IN_FLOAT = {"Softmax", "LayerNormalization", "Resize", "ReduceMean", "Erf", "Exp"}


@dataclass(frozen=True, slots=True)
class Measured:
    """What one precision costs here, and how far it agrees with fp32 on the images."""

    precision: Precision
    megabytes: float
    milliseconds: dict[int, float]
    agreement: float
    in_float: int = 0
    written: bool = False


@dataclass(frozen=True, slots=True)
class Reduced:
    """A graph of one precision, with what was measured."""

    model: onnx.ModelProto
    measured: Measured


def reduce_precision(
    model: onnx.ModelProto,
    head: Head,
    frames: NDArray[np.uint8],
    asked: Sequence[Precision],
    steps: Steps,
) -> tuple[Reduced, tuple[Measured, ...]]:
    """Return the model in the first precision asked for that agrees with fp32, and what each of them costs.

    fp32 is always measured beside them. Of the frames every second one calibrates, the others judge.

    Raises:
        ProofError: no precision asked for reaches 99 %; the message says what each reached.
    """
    shown, judged = (frames[::2], frames[1::2]) if len(frames) > 1 else (frames, frames)
    truth = answers(model, head, judged)

    def agreement(other: onnx.ModelProto) -> float:
        return _agreement(other, head, judged, truth)

    tried = {"fp32": Reduced(model, measure(model, "fp32", frames))}
    for precision in asked:
        if precision in tried:
            continue
        steps.begin(f"Reduce to {precision}")
        if precision == "fp16":
            half = _fp16(model)
            tried[precision] = Reduced(half, measure(half, precision, frames, agreement(half)))
        else:
            last = head.task == "classify"
            found = quantize(model, shown, agreement, AGREEMENT, steps, last_layer=last)
            measured = measure(found.model, precision, frames, found.agreement, found.in_float)
            tried[precision] = Reduced(found.model, measured)
    holding = (tried[one] for one in asked if tried[one].measured.agreement >= AGREEMENT)
    chosen = next(holding, None)
    if chosen is None:
        reached = ", ".join(_reached(tried[one].measured) for one in asked)
        raise ProofError(
            f"--precision {reached} ({head.metric}) agreement with fp32 on {len(judged)} images held back, "
            f"{AGREEMENT:.0%} are asked"
        )
    table = (replace(one.measured, written=one is chosen) for one in tried.values())
    return chosen, tuple(table)


def _reached(measured: Measured) -> str:
    kept = f" with {measured.in_float} layers left in float" if measured.in_float else ""
    return f"{measured.precision} reaches {measured.agreement:.1%}{kept}"


def measure(
    model: onnx.ModelProto,
    precision: Precision,
    frames: NDArray[np.uint8],
    agreement: float = 1.0,
    in_float: int = 0,
) -> Measured:
    """Time a model at batch 1 and 8 on this machine's CPU."""
    session = optimized(model)
    speeds = {batch: _milliseconds(session, frames, batch) for batch in (1, 8)}
    return Measured(precision, model.ByteSize() / 1e6, speeds, agreement, in_float)


def answers(model: onnx.ModelProto, head: Head, frames: NDArray[np.uint8]) -> list[Outputs]:
    """Return the outputs for each frame alone."""
    session = optimized(model)
    return [run_graph(session, frame[None], head.task) for frame in frames]


def _agreement(
    model: onnx.ModelProto, head: Head, frames: NDArray[np.uint8], truth: list[Outputs]
) -> float:
    found = answers(model, head, frames)
    marks = [head.agreement(f, t)[0] for f, t in zip(found, truth, strict=True)]
    return float(np.mean(marks))


def _milliseconds(
    session: onnxruntime.InferenceSession, frames: NDArray[np.uint8], batch: int
) -> float:
    images = np.resize(frames, (batch, *frames.shape[1:]))
    session.run(None, {INPUT_NAME: images})
    taken: list[float] = []
    while sum(taken) < MEASURED_SECONDS or len(taken) < 3:
        begun = perf_counter()
        session.run(None, {INPUT_NAME: images})
        taken.append(perf_counter() - begun)
    return float(np.median(taken)) * 1000


def _fp16(model: onnx.ModelProto) -> onnx.ModelProto:
    """Turn all but the grafted nodes; what overflows or loses digits easily stays in float."""
    with quietly():
        copy = onnx.ModelProto()
        copy.CopyFrom(model)
        blocked = [node.name for node in copy.graph.node if _grafted(node)]
        turned: onnx.ModelProto = convert_float_to_float16(
            copy,
            keep_io_types=True,
            op_block_list=sorted({*DEFAULT_OP_BLOCK_LIST, *_KEPT_IN_FLOAT}),
            node_block_list=blocked,
        )
    _restore_omissions(turned, model)
    return cleaned(_without_twins(turned), model)


def _restore_omissions(turned: onnx.ModelProto, model: onnx.ModelProto) -> None:
    """Leave out again the inputs that were left out: the converter casts even those."""
    before = {node.name: node for node in model.graph.node}
    for node in turned.graph.node:
        for index, name in enumerate(before[node.name].input if node.name in before else ()):
            if not name:
                node.input[index] = ""


def _without_twins(model: onnx.ModelProto) -> onnx.ModelProto:
    """Keep one of equal nodes: the converter casts a tensor back for each reader, under one name."""
    made: set[str] = set()
    kept: list[onnx.NodeProto] = []
    for node in model.graph.node:
        if made.isdisjoint(node.output):
            kept.append(node)
            made.update(node.output)
    single = onnx.GraphProto()
    single.node.extend(kept)
    del model.graph.node[:]
    model.graph.node.extend(single.node)
    return model


def _grafted(node: onnx.NodeProto) -> bool:
    return str(node.name).startswith(GRAFT_PREFIX)
