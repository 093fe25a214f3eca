"""Networks that were exported in training mode: their outputs depend on chance and on the other images of the batch."""

import onnx

from exporter.errors import GraphError
from exporter.graph import attribute, is_grafted

_RANDOM = {
    "Bernoulli",
    "Multinomial",
    "RandomNormal",
    "RandomNormalLike",
    "RandomUniform",
    "RandomUniformLike",
}


def refuse_training(model: onnx.ModelProto) -> None:
    """Refuse batch norms that use the batch's own statistics, and active dropout.

    Raises:
        GraphError: there is one; the message names it and the remedy.
    """
    constants = {tensor.name: tensor for tensor in model.graph.initializer}
    for node in model.graph.node:
        if node.op_type == "BatchNormalization" and attribute(node, "training_mode", 0):
            raise GraphError(_refusal(node, "a batch norm in training mode"))
        if node.op_type in _RANDOM and not is_grafted(node):
            raise GraphError(_refusal(node, "a source of random numbers, as an active dropout is"))
        if node.op_type == "Dropout" and len(node.input) > 2 and node.input[2]:
            switch = constants.get(node.input[2])
            if switch is None or onnx.numpy_helper.to_array(switch).any():
                raise GraphError(_refusal(node, "a dropout in training mode"))


def _refusal(node: onnx.NodeProto, what: str) -> str:
    return (
        f"{node.name or node.output[0]} is {what}. Call model.eval() before exporting; a batch norm "
        "without running statistics, or functional dropout without training=self.training, must be corrected"
    )
