"""Operators outside standard ONNX: quantization under its name of ONNX Runtime becomes standard, others are refused."""

from collections.abc import Iterator

from onnx import GraphProto, ModelProto, NodeProto, TensorProto, defs, version_converter

from exporter.errors import GraphError

STANDARD = {"", "ai.onnx"}

_OF_RUNTIME = "com.microsoft"
_QUANTIZATION = {"QuantizeLinear", "DequantizeLinear"}
_OLDER_TYPES = {
    *(TensorProto.UINT8, TensorProto.INT8, TensorProto.INT32),
    *(TensorProto.FLOAT, TensorProto.FLOAT16),
}
"""Those of scales, zero points and values that need no newer opset than the file's."""

_SIXTEEN_BIT_OPSET = 21
"""The first opset in which a standard QuantizeLinear has 16 bits."""

_TENSORRT_NMS = (
    "it runs in TensorRT only. Export the network without its NMS: a servable has its own"
)
_INTEGERS = (
    "layers for integers, as onnxruntime.quantization writes them with quant_format=QuantFormat.QOperator. Quantize "
    "the network again with quant_format=QuantFormat.QDQ (the default of quantize_static); or export the float "
    "network with --precision int8"
)
_OPTIMIZED = (
    "what ONNX Runtime's optimizations, or those of Optimum, make of standard layers. Export the file from which it "
    "was made: ONNX Runtime optimizes it when it loads. Where it must be saved by ONNX Runtime, set "
    "graph_optimization_level to ORT_ENABLE_BASIC"
)
_COMPRESSED = (
    "weights of 4 or 8 bits as language models have them. Export the float network, or quantize it with "
    "onnxruntime.quantization.quantize_static and quant_format=QuantFormat.QDQ"
)
_INSTEAD = {
    "EfficientNMS_TRT": _TENSORRT_NMS,
    "BatchedNMS_TRT": _TENSORRT_NMS,
    "BatchedNMSDynamic_TRT": _TENSORRT_NMS,
    "DeformConv2d": "export the network with torch.onnx.export at opset 19 or newer, which has DeformConv",
    "ATen": "PyTorch's own, by operator_export_type=ONNX_ATEN_FALLBACK. Export the network without this option",
}
"""The next step, by operator."""

_BY_DOMAIN = {
    "org.pytorch.aten": _INSTEAD["ATen"],
    "ai.onnx.contrib": (
        "those of onnxruntime-extensions, for work before or after the network. Export the network without them: a "
        "servable decodes, resizes and suppresses itself"
    ),
    "ai.onnx.ml": "those of classic machine learning, such as trees. Export the network without them",
    "mmdeploy": "mmdeploy's own. Export with its configuration for onnxruntime, or without the NMS",
    "com.microsoft.nchwc": _OPTIMIZED,
}

_FUSED = {
    *("FusedConv", "FusedGemm", "FusedMatMul", "FusedMatMulActivation", "TransposeMatMul", "BiasAdd", "BiasGelu"),
    *("FastGelu", "Gelu", "QuickGelu", "BiasSoftmax", "BiasSplitGelu", "SkipLayerNormalization", "Attention"),
    *("SkipSimplifiedLayerNormalization", "MultiHeadAttention", "PackedAttention", "GroupNorm", "SkipGroupNorm"),
    *("NhwcConv", "NhwcMaxPool", "NhwcFusedConv", "Inverse", "MatMulIntegerToFloat", "DynamicQuantizeMatMul"),
    *("EmbedLayerNormalization", "LayerNormalization", "SimplifiedLayerNormalization", "QAttention"),
}  # fmt: skip
_WEIGHTS_ONLY = {"MatMulNBits", "MatMulBnb4", "MatMulFpQ4", "GatherBlockQuantized"}


def with_standard_quantization(model: ModelProto) -> ModelProto:
    """Return the model with QuantizeLinear and DequantizeLinear of ONNX Runtime as standard ones, which are the same.

    Those of 16 bits need opset 21, to which the model is converted.

    Raises:
        GraphError: it has some of 16 bits, and its opset can not be converted.
    """
    foreign = [node for node in all_nodes(model.graph) if _is_quantization(node)]
    if not foreign:
        return model
    wide = {
        tensor.name for tensor in model.graph.initializer if tensor.data_type not in _OLDER_TYPES
    }
    for node in foreign:
        node.domain = ""
    opset = opset_of(model)
    if opset >= _SIXTEEN_BIT_OPSET or not any(wide.intersection(node.input) for node in foreign):
        return model
    try:
        converted: ModelProto = version_converter.convert_version(model, _SIXTEEN_BIT_OPSET)
    except Exception as error:  # the converter raises classes of its own beside RuntimeError
        raise GraphError(
            f"The graph is quantized to 16 bits, which standard ONNX has from opset {_SIXTEEN_BIT_OPSET} on, and can "
            f"not be converted from opset {opset}. Export the float network with opset {_SIXTEEN_BIT_OPSET} and "
            "quantize it again"
        ) from error
    return converted


def refuse_foreign(model: ModelProto) -> None:
    """Refuse operators that standard ONNX does not have.

    Raises:
        GraphError: names them, the setting that made them where it is known, and the next step.
    """
    known = {schema.name for schema in defs.get_all_schemas() if schema.domain in STANDARD}
    foreign = {
        (node.domain, node.op_type)
        for node in all_nodes(model.graph)
        if node.domain not in STANDARD or node.op_type not in known
    }
    if not foreign:
        return
    names = ", ".join(f"{domain}:{op}" if domain else op for domain, op in sorted(foreign))
    how = next((step for one in sorted(foreign) if (step := _instead(*one))), None)
    raise GraphError(
        f"The graph has operators outside standard ONNX: {names}"
        + (
            f"; {how}"
            if how
            else ". A servable must run everywhere: export the network again without them"
        )
    )


def opset_of(model: ModelProto) -> int:
    """Return the version of the standard operators that a model uses, 0 where it states none."""
    return next((o.version for o in model.opset_import if o.domain in STANDARD), 0)


def all_nodes(graph: GraphProto) -> Iterator[NodeProto]:
    """Yield the nodes of a graph and of the graphs inside them."""
    for node in graph.node:
        yield node
        for attribute in node.attribute:
            for inner in [attribute.g] if attribute.HasField("g") else attribute.graphs:
                yield from all_nodes(inner)


def _is_quantization(node: NodeProto) -> bool:
    return node.domain == _OF_RUNTIME and node.op_type in _QUANTIZATION


def _instead(domain: str, operator: str) -> str | None:
    if operator in _INSTEAD:
        return _INSTEAD[operator]
    if domain != _OF_RUNTIME:
        return _BY_DOMAIN.get(domain)
    if operator in _FUSED:
        return _OPTIMIZED
    if operator in _WEIGHTS_ONLY:
        return _COMPRESSED
    return _INTEGERS if operator.startswith("Q") else None
