"""A raw graph → the servable's graph: preprocessing, head, features and stages are added."""

import onnx

from exporter.backbone import (
    FEATURES,
    MAP_AXES,
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
from exporter.preprocess import graft_preprocessing
from exporter.shapes import Shape, infer_shapes
from exporter.zero_pads import keep_zero_pads
from service.card import INPUT_NAME, Stage


def assemble(network: Network) -> tuple[onnx.ModelProto, list[Stage]]:
    """Return the completed model and its stages; the network's raw graph is changed and can not be used again.

    Raises:
        GraphError: the graph can not be brought to the servable's contract.
    """
    graph, image_input = network.graph, network.image_input
    raw = graph.move_away(network.raw, [INPUT_NAME])
    graft_preprocessing(graph, network.pixels, image_input)
    graph.set_outputs([])
    raw = graph.move_away(raw, network.head.outputs)
    shapes = infer_shapes(graph.current())
    maps = _graft_features(graph, graph.outline(), shapes, network, raw)
    network.head.graft(graph, raw, image_input)
    width = infer_shapes(graph.current())[FEATURES].dims[1]
    graph.set_outputs([*graph.proto.output, float_output(FEATURES, width)])
    keep_zero_pads(graph)
    stages, values = name_stages(graph, maps, image_input)
    return graph.finish(values), stages


def _graft_features(
    graph: Graph,
    model: onnx.ModelProto,
    shapes: dict[str, Shape],
    network: Network,
    raw: list[str],
) -> list[FeatureMap]:
    """Add `features` and return the feature maps before them."""
    task, image_input = network.head.task, network.image_input
    if task in {"classify", "embed"}:
        end, axis = (
            _embedding(raw[0], shapes) if task == "embed" else read_by_last_layer(graph, raw[0])
        )
        pool(graph, end, shapes[end], axis)
        return last_of_each_size(find_maps(model, shapes, end, image_input))
    end = deepest_map(model, shapes, raw, image_input)
    maps = find_maps(model, shapes, end, image_input)
    deepest = backbone_end(maps, image_input)
    pool(graph, deepest.tensor, deepest.shape, deepest.channel_axis)
    return [deepest if same_size(found, deepest) else found for found in last_of_each_size(maps)]


def _embedding(raw: str, shapes: dict[str, Shape]) -> tuple[str, int]:
    """Return an embedder's output and its axis of channels, the second one of a map."""
    dims = shapes[raw].dims
    return raw, 1 if len(dims) == MAP_AXES else dims.index(max(dims[1:]), 1)
