"""A raw graph → the servable's graph: input handling, head, features and stages grafted on."""

import onnx

from exporter.backbone import (
    FEATURES,
    FeatureMap,
    backbone_end,
    deepest_map,
    find_maps,
    last_of_each_size,
    name_stages,
    pool,
    read_by_last_layer,
    same_size,
)
from exporter.graph import Graph, float_output
from exporter.network import Network
from exporter.preprocess import graft_front
from exporter.shapes import Shape, infer_shapes
from service.card import OUTPUTS, Stage


def finish(network: Network) -> tuple[onnx.ModelProto, list[Stage]]:
    """Return the finished model and its stages; the network's raw graph is used up.

    Raises:
        GraphError: the graph can not be brought to the contract.
    """
    graph, image = network.graph, network.image_input
    graft_front(graph, network.pixels, image)
    graph.set_outputs([])
    raw = graph.move_away(network.raw, OUTPUTS[network.head.task])
    model = graph.draft()
    shapes = infer_shapes(model)
    maps = _graft_features(graph, model, shapes, network, raw)
    network.head.graft(graph, raw, image)
    width = infer_shapes(graph.draft())[FEATURES].dims[1]
    graph.set_outputs([*graph.proto.output, float_output(FEATURES, width)])
    stages, values = name_stages(graph, maps, image)
    return graph.finish(values), stages


def _graft_features(
    graph: Graph,
    model: onnx.ModelProto,
    shapes: dict[str, Shape],
    network: Network,
    raw: list[str],
) -> list[FeatureMap]:
    """Add `features` and return the feature maps on the way to them."""
    task, image = network.head.task, network.image_input
    if task in {"classify", "embed"}:
        end = raw[0] if task == "embed" else read_by_last_layer(graph, raw[0])
        pool(graph, end, shapes[end])
        return last_of_each_size(find_maps(model, shapes, end, image))
    end = deepest_map(model, shapes, raw, image)
    maps = find_maps(model, shapes, end, image)
    deepest = backbone_end(maps, image)
    pool(graph, deepest.tensor, deepest.shape)
    return [deepest if same_size(found, deepest) else found for found in last_of_each_size(maps)]
