"""A proved fp32 graph → static QDQ in int8: which layers are quantized, with which weights, and which stay in float."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace

import numpy as np
import onnx
from numpy.typing import NDArray
from onnx import numpy_helper
from onnxruntime.quantization import CalibrationMethod, QuantType
from onnxruntime.quantization.calibrate import TensorData, TensorsData
from onnxruntime.quantization.qdq_quantizer import QDQQuantizer

from exporter.calibration import Calibration, as_layer, by_group, calibrate, with_ranges
from exporter.errors import ProofError
from exporter.folding import fold_norms
from exporter.graph import attribute, consumers, copy_of, is_grafted
from exporter.library_warnings import ignore_library_warnings
from exporter.network import Array
from exporter.progress import Progress, with_progress
from exporter.quantization_noise import relative_noise
from exporter.ranges import RangeRule
from exporter.rounding import round_weights

SEVEN_BITS = 64
"""The largest integer of a weight. x86 without VNNI adds pairs of products of bytes in 16 bits, where 2 · 255 · 64
still fits; with eight bits the outputs depend on the machine."""

EIGHT_BITS = 127
"""The same for a variant, which a service reads with seven bits where the processor needs that."""

CALIBRATION = 16
"""How many frames are calibrated with, at most."""

MOST_IN_FLOAT = 0.75
"""The largest share of the layers that may stay in float; beyond it there is hardly anything gained."""

FINEST = 32
"""The number of layers in float is found to 1/32 of all layers, since each trial costs a run of all images."""

LEVELS_OF_ACTIVATIONS = 255

WEIGHTED = {"Conv", "ConvTranspose", "Gemm", "MatMul"}
_ACTIVATIONS = {"Relu", "Clip"}
_CARRIERS = {"Add", "Concat", "MaxPool", "AveragePool", "GlobalAveragePool"}
"""What is quantized: layers with weights, the activations after them (their range sets the scale), and nodes that pass
values on. All other nodes stay in float."""


@dataclass(frozen=True, slots=True)
class Quantized:
    """A quantized graph, its agreement with fp32 (0–1), and the number of layers that stayed in float."""

    model: onnx.ModelProto
    agreement: float
    in_float: int


@dataclass(frozen=True, slots=True)
class _Layers:
    """A folded graph with the statistics of its tensors, and the rounded weights and the noise of each layer."""

    model: onnx.ModelProto
    inferred: onnx.ModelProto
    layers: list[onnx.NodeProto]
    others: list[onnx.NodeProto]
    calibration: Calibration
    weights: dict[str, tuple[Array, Array]]
    biases: dict[str, Array]
    noise: dict[str, float]
    levels: int


def quantize(
    model: onnx.ModelProto,
    frames: NDArray[np.uint8],
    agreement: Callable[[onnx.ModelProto], float],
    enough: float,
    progress: Progress,
    *,
    last_layer: bool,
    levels: int = SEVEN_BITS,
    rules: Sequence[RangeRule] = ("full",),
) -> Quantized:
    """Quantize every layer; if the agreement is too small then, leave as few layers as possible in float.

    The layers with the most noise (`exporter.quantization_noise`) stay in float first; their number is found by
    bisection.

    Args:
        model: the graph in fp32.
        frames: uint8 (N, H, W, 3) to calibrate with; best not those that `agreement` is measured on.
        agreement: measures a quantized graph against fp32, 0–1.
        enough: the agreement to reach.
        progress: gets the agreement of each trial.
        last_layer: whether layers that no other layer follows are quantized too.
        levels: the largest integer of a weight.
        rules: how the ranges of the activations are found, in order of preference; the first with which every layer
            can be quantized is taken, else the best.
    """
    prepared = _prepare(
        fold_norms(model),
        frames[:CALIBRATION],
        progress,
        last_layer=last_layer,
        levels=levels,
    )
    best, prepared = _all_layers(prepared, rules, agreement, enough, progress)
    noisiest = sorted(prepared.noise, key=lambda name: -prepared.noise[name])
    if best.agreement >= enough or not noisiest:
        return best

    def trial(in_float: int) -> Quantized:
        graph = _with_layers(prepared, set(noisiest[in_float:]))
        return Quantized(graph, agreement(graph), in_float)

    few, many = 0, int(MOST_IN_FLOAT * len(noisiest))
    whole, best = best, trial(many)
    while best.agreement >= enough and many - few > max(1, len(noisiest) // FINEST):
        middle = (few + many) // 2
        found = trial(middle)
        note = f"{found.agreement:.1%}, {middle} of {len(noisiest)} layers in float"
        progress.advance(1 - 0.5 * (many - few) / len(noisiest), note)
        if found.agreement >= enough:
            best, many = found, middle
        else:
            few = middle
    return max(best, whole, key=lambda one: one.agreement)


def _all_layers(
    prepared: _Layers,
    rules: Sequence[RangeRule],
    agreement: Callable[[onnx.ModelProto], float],
    enough: float,
    progress: Progress,
) -> tuple[Quantized, _Layers]:
    """Return the graph with every layer quantized, by the first rule that is enough, or else by the best."""
    tried: list[tuple[Quantized, _Layers]] = []
    for rule in rules:
        ranged = _with_rule(prepared, rule)
        graph = _with_layers(ranged, set(ranged.noise))
        tried.append((Quantized(graph, agreement(graph), 0), ranged))
        reached = tried[-1][0].agreement
        progress.advance(0.5, f"{reached:.1%}, all layers quantized, {rule} ranges")
        if reached >= enough:
            return tried[-1]
    return max(tried, key=lambda one: one[0].agreement)


def _with_rule(prepared: _Layers, rule: RangeRule) -> _Layers:
    """Return the layers with the ranges that a rule finds, and the noise that each has with them."""
    if rule == "full":
        return prepared
    return _with_noise(replace(prepared, calibration=with_ranges(prepared.calibration, rule)))


def _prepare(
    model: onnx.ModelProto,
    frames: NDArray[np.uint8],
    progress: Progress,
    *,
    last_layer: bool,
    levels: int,
) -> _Layers:
    followed = before_arithmetic(model)
    own = [node for node in model.graph.node if not is_grafted(node)]
    layers = [
        node for node in own if node.op_type in WEIGHTED and (last_layer or node.name in followed)
    ]
    if not layers:
        raise ProofError(
            "int8 is for layers with weights that another layer follows, and the network has none: leave int8 out"
        )
    others = [n for n in own if n.op_type in _ACTIVATIONS | _CARRIERS and n.name in followed]
    constants = {tensor.name: tensor for tensor in model.graph.initializer}
    nodes = (*layers, *others)
    tensors = {name for node in nodes for name in (*node.input, *node.output) if name}
    observed = with_progress(frames, progress, (0.0, 0.3), "images run")
    calibration = calibrate(model, observed, sorted(tensors - constants.keys()), layers)
    weights: dict[str, tuple[Array, Array]] = {}
    biases: dict[str, Array] = {}
    readers = consumers(model.graph.node)
    for layer in with_progress(layers, progress, (0.3, 0.4), "layers rounded"):
        name = layer.input[1]
        if name in weights or name not in calibration.moments:
            continue
        moments = calibration.moments[name]
        bias = layer.input[2] if len(layer.input) > 2 else ""
        has_own_bias = bias in constants and readers[bias] == readers[name]
        weight = numpy_helper.to_array(constants[name])
        grouped = by_group(layer, weight).astype(np.float64)
        variance = moments.covariance if has_own_bias else moments.uncentered
        integers, scales = round_weights(grouped, variance, levels)
        values = integers * scales[:, :, None]
        weights[name] = as_layer(layer, values, weight).astype(np.float32), scales.reshape(-1)
        if has_own_bias:
            lost = np.einsum("goi,gi->go", grouped - values, moments.mean).reshape(-1)
            biases[bias] = (numpy_helper.to_array(constants[bias]) + lost).astype(np.float32)
    inferred = onnx.shape_inference.infer_shapes(model, data_prop=True)
    return _with_noise(
        _Layers(model, inferred, layers, others, calibration, weights, biases, {}, levels)
    )


def _with_noise(prepared: _Layers) -> _Layers:
    model = prepared.model
    constants = {tensor.name: tensor for tensor in model.graph.initializer}
    readers = consumers(model.graph.node)
    noise = {
        layer.name: _noise(layer, constants, prepared.weights, prepared.calibration, readers)
        for layer in prepared.layers
    }
    return replace(prepared, noise=noise)


def _noise(
    layer: onnx.NodeProto,
    constants: dict[str, onnx.TensorProto],
    weights: dict[str, tuple[Array, Array]],
    calibration: Calibration,
    readers: dict[str, list[onnx.NodeProto]],
) -> float:
    """Return the relative noise of a layer that is quantized alone; infinite where its inputs have no statistics."""
    name = layer.input[1]
    if name not in weights:
        return float("inf")
    exact = by_group(layer, numpy_helper.to_array(constants[name])).astype(np.float64)
    values = by_group(layer, weights[name][0]).astype(np.float64)
    after = readers[layer.output[0]]
    activated = len(after) == 1 and after[0].op_type in _ACTIVATIONS
    written = after[0].output[0] if activated else layer.output[0]
    low, high = np.transpose([calibration.ranges[tensor] for tensor in (layer.input[0], written)])
    of_input, of_output = (high - low) / LEVELS_OF_ACTIVATIONS
    return relative_noise(exact, values, calibration.moments[name], (of_input, of_output))


def _with_layers(prepared: _Layers, names: set[str]) -> onnx.ModelProto:
    """Return the graph with these layers in static QDQ: unsigned activations, signed weights, a scale per channel."""
    chosen = names | _joining(prepared, names)
    model = copy_of(prepared.inferred)
    readers = consumers(model.graph.node)
    scales: dict[str, list[dict[str, object]]] = {}
    constants = {tensor.name: tensor for tensor in model.graph.initializer}
    for layer in prepared.layers:
        name = layer.input[1]
        if name not in prepared.weights or not {n.name for n in readers[name]} <= names:
            continue
        values, step_sizes = prepared.weights[name]
        constants[name].CopyFrom(numpy_helper.from_array(values, name))
        if len(layer.input) > 2 and layer.input[2] in prepared.biases:
            bias = layer.input[2]
            constants[bias].CopyFrom(numpy_helper.from_array(prepared.biases[bias], bias))
        scales[name] = _scales(layer, step_sizes)
    ranges = {
        name: TensorData(lowest=np.float32(low), highest=np.float32(high))
        for name, (low, high) in prepared.calibration.ranges.items()
    }
    kinds = sorted({node.op_type for node in model.graph.node if node.name in chosen})
    with ignore_library_warnings():
        quantizer = QDQQuantizer(
            model,
            per_channel=True,
            reduce_range=prepared.levels == SEVEN_BITS,
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


def _scales(layer: onnx.NodeProto, step_sizes: Array) -> list[dict[str, object]]:
    """Return the quantizer's settings of a layer's weights: the scale of each output channel."""
    axis = 0 if layer.op_type == "Conv" or attribute(layer, "transB", 0) else 1
    zero = np.int8(0)
    kind = QuantType.QInt8
    return [
        {"quant_type": kind, "scale": np.float32(s), "zero_point": zero, "axis": axis}
        for s in step_sizes
    ]


def _joining(prepared: _Layers, names: set[str]) -> set[str]:
    """Return the activations and carriers that lie between quantized nodes.

    Where a neighbor stays in float, they do too: eight bits would lose precision there and save no time.
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


def before_arithmetic(model: onnx.ModelProto) -> set[str]:
    """Return the nodes that another node with weights follows.

    The last layers of detectors and segmentation networks, and what decodes their outputs, stay in float: eight bits
    are too few for the position of a box.
    """
    needed: set[str] = set()
    before: set[str] = set()
    for node in reversed(model.graph.node):
        leads_on = not needed.isdisjoint(node.output)
        if leads_on:
            before.add(node.name)
        if leads_on or (node.op_type in WEIGHTED and not is_grafted(node)):
            needed.update(node.input)
    return before


def cleaned(converted: onnx.ModelProto, model: onnx.ModelProto) -> onnx.ModelProto:
    """Return the original model with the graph of a converted one; of its inner shapes only the stages' are kept."""
    kept = copy_of(model)
    kept.graph.CopyFrom(converted.graph)
    kept.graph.name = model.graph.name
    known = {value.name: value for value in converted.graph.value_info}
    del kept.graph.value_info[:]
    kept.graph.value_info.extend(known.get(v.name, v) for v in model.graph.value_info)
    return kept
