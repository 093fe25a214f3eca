"""A proved fp32 graph → the same in fp16 or int8, kept only as far as it agrees with itself."""

import logging
import tempfile
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from time import perf_counter

import numpy as np
import onnx
import onnxruntime
from numpy.typing import NDArray
from onnxruntime.quantization import CalibrationDataReader, QuantFormat, QuantType, quantize_static
from onnxruntime.transformers.float16 import DEFAULT_OP_BLOCK_LIST, convert_float_to_float16

from exporter.errors import ProofError
from exporter.graph import GRAFT_PREFIX
from exporter.network import Array, Head, Outputs
from exporter.proof import run_graph
from exporter.recipe import Precision
from exporter.sessions import optimised, unoptimised
from exporter.steps import Steps
from service.card import INPUT_NAME

AGREEMENT = 0.99
ROUNDS = 8
LEFT_IN_FLOAT = 0.1
"""Each round the worst tenth of the nodes goes back to float."""

CALIBRATION = 32
PROBED = 4
MEASURED_SECONDS = 1.0
_WEIGHTED = {"Conv", "ConvTranspose", "Gemm", "MatMul"}
_ACTIVATIONS = {"Relu", "Clip"}
_CARRIERS = {"Add", "Concat", "MaxPool", "AveragePool", "GlobalAveragePool"}
"""What is quantised: the arithmetic, the activations after it, whose range is what counts, and what
passes values between them. All else stays in float."""

_KEPT_IN_FLOAT = {"Softmax", "LayerNormalization", "Resize", "ReduceMean", "Erf", "Exp"}


@dataclass(frozen=True, slots=True)
class Measured:
    """What one precision costs here, and how far it agrees with fp32 on the pictures."""

    precision: Precision
    megabytes: float
    milliseconds: dict[int, float]
    agreement: float
    in_float: int = 0


@dataclass(frozen=True, slots=True)
class Reduced:
    """A graph of lower precision, with what was measured."""

    model: onnx.ModelProto
    measured: Measured


def reduce_precision(
    model: onnx.ModelProto,
    head: Head,
    frames: NDArray[np.uint8],
    precision: Precision,
    steps: Steps,
) -> Reduced:
    """Return the model in a lower precision; nodes that hurt stay in float.

    Raises:
        ProofError: agreement with fp32 stays below 99 %; the message says what was reached.
    """
    truth = answers(model, head, frames)
    if precision == "fp16":
        reduced = _fp16(model)
        agreement = _agreement(reduced, head, frames, truth)
        kept: list[str] = []
    else:
        reduced, agreement, kept = _int8(model, head, frames, truth, steps)
    if agreement < AGREEMENT:
        raise ProofError(
            f"--precision {precision} reaches {agreement:.1%} ({head.measure}) agreement with fp32 on "
            f"{len(frames)} pictures, {AGREEMENT:.0%} are asked"
            + (f", with {len(kept)} nodes left in float" if kept else "")
        )
    return Reduced(reduced, measure(reduced, precision, frames, agreement, len(kept)))


def measure(
    model: onnx.ModelProto,
    precision: Precision,
    frames: NDArray[np.uint8],
    agreement: float = 1.0,
    in_float: int = 0,
) -> Measured:
    """Time a model at batch 1 and 8 on this machine's CPU."""
    session = optimised(model)
    speeds = {batch: _milliseconds(session, frames, batch) for batch in (1, 8)}
    return Measured(precision, model.ByteSize() / 1e6, speeds, agreement, in_float)


def answers(model: onnx.ModelProto, head: Head, frames: NDArray[np.uint8]) -> list[Outputs]:
    """Return the outputs for each frame alone."""
    session = optimised(model)
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
    pictures = np.resize(frames, (batch, *frames.shape[1:]))
    session.run(None, {INPUT_NAME: pictures})
    taken: list[float] = []
    while sum(taken) < MEASURED_SECONDS or len(taken) < 3:
        begun = perf_counter()
        session.run(None, {INPUT_NAME: pictures})
        taken.append(perf_counter() - begun)
    return float(np.median(taken)) * 1000


def _fp16(model: onnx.ModelProto) -> onnx.ModelProto:
    """Turn all but the grafted nodes; what overflows or loses digits easily stays in float."""
    with _quietly():
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
    return _cleaned(_without_twins(turned), model)


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


def _int8(
    model: onnx.ModelProto,
    head: Head,
    frames: NDArray[np.uint8],
    truth: list[Outputs],
    steps: Steps,
) -> tuple[onnx.ModelProto, float, list[str]]:
    """Quantise; while the answers disagree, give the nodes with the worst outputs back to float."""
    inner = _before_arithmetic(model)
    arithmetic = [
        node
        for node in model.graph.node
        if _quantisable(node, _WEIGHTED) and (node.name in inner or head.task == "classify")
    ]
    names = {node.name for node in arithmetic}
    names |= {n.name for n in model.graph.node if _quantisable(n, _ACTIVATIONS | _CARRIERS)} & inner
    kept: list[str] = []
    for turn in range(ROUNDS):
        reduced = _quantised(
            model, frames[:CALIBRATION], sorted(names - _with_activation(model, kept))
        )
        agreement = _agreement(reduced, head, frames, truth)
        steps.advance((turn + 1) / ROUNDS, f"{agreement:.1%}, {len(kept)} nodes in float")
        if agreement >= AGREEMENT:
            break
        left = [node for node in arithmetic if node.name not in kept]
        worst = _by_own_noise(model, reduced, frames[:PROBED], left)
        kept += worst[: max(1, round(LEFT_IN_FLOAT * len(arithmetic)))]
    return reduced, agreement, kept


def _before_arithmetic(model: onnx.ModelProto) -> set[str]:
    """Return the nodes that some weighted node still follows.

    The last layers of detectors and segmenters and all that decodes them stay in float: eight bits
    are too few for where a box lies.
    """
    wanted: set[str] = set()
    before: set[str] = set()
    for node in reversed(model.graph.node):
        leads_on = not wanted.isdisjoint(node.output)
        if leads_on:
            before.add(node.name)
        if leads_on or _quantisable(node, _WEIGHTED):
            wanted.update(node.input)
    return before


def _with_activation(model: onnx.ModelProto, kept: list[str]) -> set[str]:
    """Return the nodes and the activations that read them."""
    made = {node.output[0] for node in model.graph.node if node.name in kept}
    readers = {
        node.name
        for node in model.graph.node
        if node.op_type in _ACTIVATIONS and node.input[0] in made
    }
    return {*kept, *readers}


def _quantised(
    model: onnx.ModelProto, frames: NDArray[np.uint8], nodes: list[str]
) -> onnx.ModelProto:
    """Return static QDQ: unsigned activations, signed weights a channel.

    Weights have seven bits, since x86 without VNNI adds pairs of products in 16 bits and would
    saturate: the file must answer alike everywhere.
    """
    with tempfile.TemporaryDirectory() as folder, _quietly():
        before, after = Path(folder) / "fp32.onnx", Path(folder) / "int8.onnx"
        onnx.save(onnx.shape_inference.infer_shapes(model, data_prop=True), before)
        quantize_static(
            before,
            after,
            _Frames(frames),
            quant_format=QuantFormat.QDQ,
            per_channel=True,
            reduce_range=True,
            activation_type=QuantType.QUInt8,
            weight_type=QuantType.QInt8,
            nodes_to_quantize=nodes,
        )
        quantised = onnx.load(after)
    return _cleaned(quantised, model)


def _cleaned(quantised: onnx.ModelProto, model: onnx.ModelProto) -> onnx.ModelProto:
    """Keep of the quantiser's model what a servable holds: its graph, under our own heading."""
    cleaned = onnx.ModelProto()
    cleaned.CopyFrom(model)
    cleaned.graph.CopyFrom(quantised.graph)
    cleaned.graph.name = model.graph.name
    known = {value.name: value for value in quantised.graph.value_info}
    del cleaned.graph.value_info[:]
    cleaned.graph.value_info.extend(known.get(v.name, v) for v in model.graph.value_info)
    return cleaned


def _by_own_noise(
    model: onnx.ModelProto,
    reduced: onnx.ModelProto,
    frames: NDArray[np.uint8],
    nodes: list[onnx.NodeProto],
) -> list[str]:
    """Return the nodes' names, first those that add most noise to what they read.

    Noise is the error of a tensor against the tensor's own power.
    """
    there = {name for node in reduced.graph.node for name in node.output}
    seen = {name for node in nodes for name in (node.input[0], _shown_at(model, node))} & there
    tensors = sorted(seen)
    exact, rough = (_tensors(one, tensors, frames) for one in (model, reduced))
    noise = {
        name: float(np.square(a - b).mean() / max(np.square(a).mean(), 1e-12))
        for name, a, b in zip(tensors, exact, rough, strict=True)
    }
    added = {
        node.name: noise.get(_shown_at(model, node), 0.0) - noise.get(node.input[0], 0.0)
        for node in nodes
    }
    return sorted(added, key=lambda name: -added[name])


def _shown_at(model: onnx.ModelProto, node: onnx.NodeProto) -> str:
    """Return where a node's result can be seen: an activation may have swallowed its own output."""
    for other in model.graph.node:
        if other.op_type in _ACTIVATIONS and other.input[0] == node.output[0]:
            return str(other.output[0])
    return str(node.output[0])


def _tensors(model: onnx.ModelProto, names: list[str], frames: NDArray[np.uint8]) -> list[Array]:
    probe = onnx.ModelProto()
    probe.CopyFrom(model)
    del probe.graph.output[:]
    probe.graph.output.extend(onnx.ValueInfoProto(name=name) for name in names)
    return list(unoptimised(probe).run(names, {INPUT_NAME: frames}))


class _Frames(CalibrationDataReader):  # type: ignore[misc]  # ONNX Runtime ships no types
    """Frames one by one, as the quantiser asks for them."""

    def __init__(self, frames: NDArray[np.uint8]) -> None:
        self._frames = iter(frames)

    def get_next(self) -> dict[str, NDArray[np.uint8]] | None:
        frame = next(self._frames, None)
        return None if frame is None else {INPUT_NAME: frame[None]}


def _quantisable(node: onnx.NodeProto, kinds: set[str]) -> bool:
    return node.op_type in kinds and not _grafted(node)


def _grafted(node: onnx.NodeProto) -> bool:
    return str(node.name).startswith(GRAFT_PREFIX)


@contextmanager
def _quietly() -> Iterator[None]:
    """The converters warn of small numbers and of steps that were left out on purpose."""
    level = logging.root.manager.disable
    logging.disable(logging.WARNING)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            yield
    finally:
        logging.disable(level)
