"""Axes of size −1: how converters from PaddlePaddle, and scripts, write an axis that any size fits."""

import onnx


def with_free_axes(model: onnx.ModelProto) -> onnx.ModelProto:
    """Return the same model; of axes whose size is negative, it states no size from here on.

    ONNX has no such size: a free axis has a name, or nothing. ONNX Runtime takes both for free.
    """
    graph = model.graph
    for value in (*graph.input, *graph.output, *graph.value_info):
        for dim in value.type.tensor_type.shape.dim:
            if dim.dim_value < 0:
                dim.Clear()
    return model
