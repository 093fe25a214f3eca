"""A proved fp32 graph → static QDQ in int8: which layers, with which weights, and which stay in float."""

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import onnx
from numpy.typing import NDArray
from onnx import numpy_helper
from onnxruntime.quantization import CalibrationMethod, QuantType
from onnxruntime.quantization.calibrate import TensorData, TensorsData
from onnxruntime.quantization.qdq_quantizer import QDQQuantizer

from exporter.calibration import Calibration, as_layer, by_group, calibrate
from exporter.folding import fold_norms
from exporter.graph import GRAFT_PREFIX, consumers
from exporter.network import Array
from exporter.progress import Steps, watched
from exporter.quantization_noise import noise
from exporter.quiet import quietly
from exporter.rounding import rounded

LEVELS = 64
"""x86 without VNNI adds pairs of products of bytes in 16 bits, where 2 · 255 · 64 still fits: weights have
seven bits, so that the file answers alike everywhere."""

CALIBRATION = 16
MOST_IN_FLOAT = 0.75
"""With fewer than a quarter of its layers quantized a network is int8 in name only."""

FINEST = 32
"""How many layers stay in float is found to this share of them: each try costs a run of all images."""

LEVELS_OF_ACTIVATIONS = 255

_WEIGHTED = {"Conv", "ConvTranspose", "Gemm", "MatMul"}
_ACTIVATIONS = {"Relu", "Clip"}
_CARRIERS = {"Add", "Concat", "MaxPool", "AveragePool", "GlobalAveragePool"}
"""What is quantized: the arithmetic, the activations after it, whose range is what counts, and what
passes values between them. All else stays in float."""


@dataclass(frozen=True, slots=True)
class Quantized:
    """The graph, how far it agrees, and how many layers stayed in float."""

    model: onnx.ModelProto
    agreement: float
    in_float: int


@dataclass(frozen=True, slots=True)
class _Layers:
    """A folded graph with what the images showed of it and each layer's weights in integers."""

    model: onnx.ModelProto
    inferred: onnx.ModelProto
    layers: list[onnx.NodeProto]
    others: list[onnx.NodeProto]
    seen: Calibration
    weights: dict[str, tuple[Array, Array]]
    biases: dict[str, Array]
    noise: dict[str, float]


def quantize(
    model: onnx.ModelProto,
    frames: NDArray[np.uint8],
    agreement: Callable[[onnx.ModelProto], float],
    enough: float,
    steps: Steps,
    *,
    last_layer: bool,
) -> Quantized:
    """Quantize every layer; where that agrees too little, leave as few as possible in float.

    Layers go back to float in the order of the noise of each alone (`exporter.quantization_noise`); how many must
    is found by halving. `frames` are what is calibrated on, best others than `agreement` looks at.
    `last_layer` says whether layers that no other follows are quantized as well.
    """
    prepared = _prepare(fold_norms(model), frames[:CALIBRATION], steps, last_layer=last_layer)
    noisiest = sorted(prepared.noise, key=lambda name: -prepared.noise[name])

    def tried(in_float: int) -> Quantized:
        graph = _with_layers(prepared, set(noisiest[in_float:]))
        return Quantized(graph, agreement(graph), in_float)

    best = tried(0)
    steps.advance(0.5, f"{best.agreement:.1%}, all layers quantized")
    if best.agreement >= enough or not noisiest:
        return best
    few, many = 0, int(MOST_IN_FLOAT * len(noisiest))
    best = tried(many)
    while best.agreement >= enough and many - few > max(1, len(noisiest) // FINEST):
        middle = (few + many) // 2
        found = tried(middle)
        note = f"{found.agreement:.1%}, {middle} of {len(noisiest)} layers in float"
        steps.advance(1 - 0.5 * (many - few) / len(noisiest), note)
        if found.agreement >= enough:
            best, many = found, middle
        else:
            few = middle
    return best


def _prepare(
    model: onnx.ModelProto, frames: NDArray[np.uint8], steps: Steps, *, last_layer: bool
) -> _Layers:
    followed = _before_arithmetic(model)
    own = [node for node in model.graph.node if not _grafted(node)]
    layers = [
        node for node in own if node.op_type in _WEIGHTED and (last_layer or node.name in followed)
    ]
    others = [n for n in own if n.op_type in _ACTIVATIONS | _CARRIERS and n.name in followed]
    constants = {tensor.name: tensor for tensor in model.graph.initializer}
    nodes = (*layers, *others)
    tensors = {name for node in nodes for name in (*node.input, *node.output) if name}
    shown = watched(frames, steps, (0.0, 0.3), "images seen")
    seen = calibrate(model, shown, sorted(tensors - constants.keys()), layers)
    weights: dict[str, tuple[Array, Array]] = {}
    biases: dict[str, Array] = {}
    readers = consumers(model.graph.node)
    for layer in watched(layers, steps, (0.3, 0.4), "layers rounded"):
        name = layer.input[1]
        if name in weights or name not in seen.moments:
            continue
        moments = seen.moments[name]
        bias = layer.input[2] if len(layer.input) > 2 else ""
        mended = bias in constants and readers[bias] == readers[name]
        weight = numpy_helper.to_array(constants[name])
        grouped = by_group(layer, weight).astype(np.float64)
        spread = moments.covariance if mended else moments.uncentered
        integers, scales = rounded(grouped, spread, LEVELS)
        values = integers * scales[:, :, None]
        weights[name] = as_layer(layer, values, weight).astype(np.float32), scales.reshape(-1)
        if mended:
            lost = np.einsum("goi,gi->go", grouped - values, moments.mean).reshape(-1)
            biases[bias] = (numpy_helper.to_array(constants[bias]) + lost).astype(np.float32)
    inferred = onnx.shape_inference.infer_shapes(model, data_prop=True)
    loud = {layer.name: _noise(layer, constants, weights, seen, readers) for layer in layers}
    return _Layers(model, inferred, layers, others, seen, weights, biases, loud)


def _noise(
    layer: onnx.NodeProto,
    constants: dict[str, onnx.TensorProto],
    weights: dict[str, tuple[Array, Array]],
    seen: Calibration,
    readers: dict[str, list[onnx.NodeProto]],
) -> float:
    """Return the noise of a layer quantized alone; where nothing is known of it, infinite."""
    name = layer.input[1]
    if name not in weights:
        return float("inf")
    exact = by_group(layer, numpy_helper.to_array(constants[name])).astype(np.float64)
    values = by_group(layer, weights[name][0]).astype(np.float64)
    after = readers[layer.output[0]]
    activated = len(after) == 1 and after[0].op_type in _ACTIVATIONS
    written = after[0].output[0] if activated else layer.output[0]
    low, high = np.transpose([seen.ranges[tensor] for tensor in (layer.input[0], written)])
    of_input, of_output = (high - low) / LEVELS_OF_ACTIVATIONS
    return noise(exact, values, seen.moments[name], (of_input, of_output))


def _with_layers(prepared: _Layers, names: set[str]) -> onnx.ModelProto:
    """Return static QDQ of these layers: unsigned activations, signed weights a channel."""
    chosen = names | _joining(prepared, names)
    model = onnx.ModelProto()
    model.CopyFrom(prepared.inferred)
    readers = consumers(model.graph.node)
    scales: dict[str, list[dict[str, object]]] = {}
    constants = {tensor.name: tensor for tensor in model.graph.initializer}
    for layer in prepared.layers:
        name = layer.input[1]
        if name not in prepared.weights or not {n.name for n in readers[name]} <= names:
            continue
        values, steps = prepared.weights[name]
        constants[name].CopyFrom(numpy_helper.from_array(values, name))
        if len(layer.input) > 2 and layer.input[2] in prepared.biases:
            bias = layer.input[2]
            constants[bias].CopyFrom(numpy_helper.from_array(prepared.biases[bias], bias))
        scales[name] = _scales(layer, steps)
    ranges = {
        name: TensorData(lowest=np.float32(low), highest=np.float32(high))
        for name, (low, high) in prepared.seen.ranges.items()
    }
    kinds = sorted({node.op_type for node in model.graph.node if node.name in chosen})
    with quietly():
        quantizer = QDQQuantizer(
            model,
            per_channel=True,
            reduce_range=True,
            weight_qType=QuantType.QInt8,
            activation_qType=QuantType.QUInt8,
            tensors_range=TensorsData(CalibrationMethod.MinMax, ranges),
            nodes_to_quantize=sorted(chosen),
            nodes_to_exclude=[],
            op_types_to_quantize=kinds,
            extra_options={"TensorQuantOverrides": scales},
        )
        quantizer.quantize_model()
    return cleaned(quantizer.model.model, prepared.model)


def _scales(layer: onnx.NodeProto, steps: Array) -> list[dict[str, object]]:
    """Return what the quantizer is told of a layer's weights: the scale of each output channel."""
    transposed = any(a.name == "transB" and a.i for a in layer.attribute)
    axis = 0 if layer.op_type == "Conv" or transposed else 1
    zero = np.int8(0)
    kind = QuantType.QInt8
    return [
        {"quant_type": kind, "scale": np.float32(s), "zero_point": zero, "axis": axis}
        for s in steps
    ]


def _joining(prepared: _Layers, names: set[str]) -> set[str]:
    """Return the activations and carriers that lie between quantized nodes.

    Where a neighbor stays in float they do so too: eight bits there would cost digits and save nothing.
    """
    nodes = {node.name: node for node in prepared.model.graph.node}
    maker = {name: node.name for node in nodes.values() for name in node.output}
    readers = consumers(nodes.values())
    constants = {tensor.name for tensor in prepared.model.graph.initializer}
    chosen = {node.name for node in prepared.others}
    while True:
        quantized = names | chosen
        kept = {
            name
            for name in chosen
            if all(maker.get(i) in quantized for i in nodes[name].input if i and i not in constants)
            and (
                nodes[name].op_type in _ACTIVATIONS
                or any(reader.name in quantized for reader in readers[nodes[name].output[0]])
            )
        }
        if kept == chosen:
            return chosen
        chosen = kept


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
        if leads_on or (node.op_type in _WEIGHTED and not _grafted(node)):
            wanted.update(node.input)
    return before


def cleaned(reduced: onnx.ModelProto, model: onnx.ModelProto) -> onnx.ModelProto:
    """Keep of a converter's model what a servable holds: its graph, under our own heading."""
    kept = onnx.ModelProto()
    kept.CopyFrom(model)
    kept.graph.CopyFrom(reduced.graph)
    kept.graph.name = model.graph.name
    known = {value.name: value for value in reduced.graph.value_info}
    del kept.graph.value_info[:]
    kept.graph.value_info.extend(known.get(v.name, v) for v in model.graph.value_info)
    return kept


def _grafted(node: onnx.NodeProto) -> bool:
    return str(node.name).startswith(GRAFT_PREFIX)
