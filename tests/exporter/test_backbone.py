"""Stages and features of a network."""

import numpy as np
import pytest
from onnx import helper

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
)
from exporter.errors import GraphError
from exporter.graph import Graph, float_output
from exporter.sessions import unoptimized_session
from exporter.shapes import Shape, infer_shapes
from service.card import ImageInput
from tests.exporter.graphs import SIDE, normal, pixel_graph, small_classifier

FRAME = ImageInput(height=SIDE, width=SIDE, resize="stretch")


def feature_map(tensor: str, channels: int, side: int) -> FeatureMap:
    return FeatureMap(tensor, "NCHW", channels, side, side, Shape((1, channels, side, side), 1))


def test_the_last_layer_of_a_classifier_reads_the_pooled_vector() -> None:
    assert read_by_last_layer(Graph(small_classifier()), "raw") == ("f", -1)


def test_scores_behind_a_condition_on_the_image_are_refused_by_its_operator() -> None:
    model = small_classifier()
    model.graph.node[-1].output[0] = "scores"
    branches = {
        f"{name}_branch": helper.make_graph(
            [helper.make_node(op, ["scores"], [name])], name, [], [float_output(name, 4)]
        )
        for name, op in (("then", "Identity"), ("else", "Neg"))
    }
    model.graph.node.extend(
        [
            helper.make_node("ReduceMean", ["scores"], ["mean"], keepdims=0),
            helper.make_node("Cast", ["mean"], ["bright"], to=9),
            helper.make_node("If", ["bright"], ["raw"], **branches),
        ]
    )
    with pytest.raises(GraphError, match="come out of an operator If"):
        read_by_last_layer(Graph(model), "raw")


def test_scores_behind_a_condition_on_the_batch_are_refused_by_its_operator() -> None:
    model = pixel_graph(
        helper.make_node("Conv", ["pixels", "w"], ["scores"]),
        helper.make_node("Shape", ["pixels"], ["dims"]),
        helper.make_node("Gather", ["dims", "first"], ["count"]),
        helper.make_node("Cast", ["count"], ["some"], to=9),
        w=normal(4, 3, 16, 16),
        first=np.array(0),
    )
    branches = {
        f"{name}_branch": helper.make_graph(
            [helper.make_node(op, ["scores"], [name])], name, [], [float_output(name, 4)]
        )
        for name, op in (("then", "Identity"), ("else", "Neg"))
    }
    model.graph.node.append(helper.make_node("If", ["some"], ["raw"], **branches))
    with pytest.raises(GraphError, match="an operator If, whose condition depends on the number"):
        read_by_last_layer(Graph(model), "raw")


def test_logits_without_a_trained_layer_before_them_are_refused() -> None:
    graph = Graph(pixel_graph(helper.make_node("Relu", ["pixels"], ["raw"])))
    with pytest.raises(GraphError, match="no trained layer"):
        read_by_last_layer(graph, "raw")


def test_a_branch_inside_a_residual_block_is_no_stage() -> None:
    model = pixel_graph(
        helper.make_node("Conv", ["pixels", "w0"], ["a"]),
        helper.make_node("Conv", ["a", "w1"], ["branch"]),
        helper.make_node("Add", ["a", "branch"], ["sum"]),
        helper.make_node("Relu", ["sum"], ["raw"]),
        w0=normal(4, 3, 1, 1),
        w1=normal(4, 4, 1, 1),
    )
    maps = find_maps(model, infer_shapes(model), "raw", FRAME)
    assert [found.tensor for found in maps] == ["a", "sum", "raw"]


def test_a_smaller_map_that_no_trained_layer_leads_to_is_no_feature() -> None:
    """Position codes are computed from the image's size alone, or from its pixels without weights."""
    conv = helper.make_node("Conv", ["pixels", "w"], ["features"], pads=[1, 1, 1, 1])
    small = helper.make_node(
        "AveragePool", ["pixels"], ["positions"], kernel_shape=[4, 4], strides=[4, 4]
    )
    resize = helper.make_node("Resize", ["positions", "", "scales"], ["large"], mode="nearest")
    last = helper.make_node("Add", ["features", "large"], ["raw"])
    scales = np.array([1, 1, 4, 4], np.float32)
    model = pixel_graph(conv, small, resize, last, w=normal(3, 3, 3, 3), scales=scales)

    assert deepest_map(model, infer_shapes(model), ["raw"], FRAME) in {"features", "raw"}


def test_a_part_of_a_split_that_leads_elsewhere_closes_no_path() -> None:
    conv = helper.make_node("Conv", ["pixels", "w"], ["whole"], pads=[1, 1, 1, 1])
    split = helper.make_node("Split", ["whole"], ["half", "other"], axis=1, num_outputs=2)
    last = helper.make_node("Relu", ["half"], ["raw"])
    model = pixel_graph(conv, split, last, w=normal(4, 3, 3, 3))

    maps = find_maps(model, infer_shapes(model), "raw", FRAME)

    assert [one.tensor for one in maps] == ["whole", "half", "raw"]


def test_the_last_map_of_each_size_is_kept_shallow_to_deep() -> None:
    model = small_classifier()
    maps = last_of_each_size(find_maps(model, infer_shapes(model), "d", FRAME))
    assert [(found.tensor, found.channels, found.height) for found in maps] == [
        ("b", 8, 8),
        ("d", 16, 4),
    ]


def test_the_deepest_map_is_the_smallest_before_all_outputs() -> None:
    model = small_classifier()
    assert deepest_map(model, infer_shapes(model), ["raw"], FRAME) == "d"
    with pytest.raises(GraphError, match="no feature map"):
        deepest_map(model, infer_shapes(model), ["raw", "pixels"], FRAME)


def test_of_equal_maps_the_deepest_is_the_output_of_the_last_block() -> None:
    pads = [1, 1, 1, 1]
    model = pixel_graph(
        helper.make_node("Conv", ["pixels", "w0"], ["first"], strides=[4, 4]),
        helper.make_node("Conv", ["first", "w1"], ["branch"], pads=pads),
        helper.make_node("Add", ["first", "branch"], ["sum"]),
        helper.make_node("Relu", ["sum"], ["block"]),
        # A head with two branches, each as wide as the block.
        helper.make_node("Conv", ["block", "w1"], ["left"], pads=pads),
        helper.make_node("Conv", ["block", "w1"], ["right"], pads=pads),
        helper.make_node("Conv", ["left", "w2"], ["boxes"]),
        helper.make_node("Conv", ["right", "w2"], ["scores"]),
        helper.make_node("Concat", ["boxes", "scores"], ["raw"], axis=1),
        w0=normal(8, 3, 4, 4),
        w1=normal(8, 8, 3, 3),
        w2=normal(2, 8, 1, 1),
    )

    assert deepest_map(model, infer_shapes(model), ["raw"], FRAME) == "block"


def test_a_backbone_ends_before_the_maps_that_a_detector_adds() -> None:
    image_input = ImageInput(height=320, width=320, resize="stretch")
    maps = [
        feature_map("stride 16", 64, 20),
        feature_map("stride 32", 96, 10),
        feature_map("wider", 320, 10),
        feature_map("stride 64", 512, 5),
    ]
    assert backbone_end(maps, image_input).tensor == "wider"


@pytest.mark.parametrize(
    ("dims", "channel_axis", "averaged"),
    [
        ((768,), -1, ()),
        ((768,), -2, ()),
        ((16, 48), -1, (1,)),
        ((16, 48), 1, (2,)),
        ((16, 48), -2, (2,)),
        ((3, 16, 16), 1, (2, 3)),
        ((16, 16, 3), -1, (1, 2)),
    ],
)
def test_features_are_the_mean_over_all_axes_but_batch_and_channels(
    dims: tuple[int, ...], channel_axis: int, averaged: tuple[int, ...]
) -> None:
    reshape = helper.make_node("Reshape", ["pixels", "shape"], ["raw"])
    model = pixel_graph(reshape, shape=np.array([0, *dims]))
    graph = Graph(model)
    pool(graph, "raw", Shape((1, *dims), 1), channel_axis)
    pixels = normal(2, 3, SIDE, SIDE)
    expected = pixels.reshape((2, *dims)).mean(averaged)
    graph.set_outputs([float_output(FEATURES, expected.shape[1])])

    (found,) = unoptimized_session(graph.finish()).run(None, {"pixels": pixels})

    np.testing.assert_allclose(found, expected, atol=1e-5)


@pytest.mark.parametrize(
    ("read", "weights", "axis"), [(["map", "w1"], (8, 4), -1), (["w1", "map"], (4, 8), -2)]
)
def test_a_product_of_matrices_has_its_channels_last_or_before_that(
    read: list[str], weights: tuple[int, int], axis: int
) -> None:
    model = pixel_graph(
        helper.make_node("Conv", ["pixels", "w0"], ["map"], strides=[4, 4]),
        helper.make_node("MatMul", read, ["raw"]),
        w0=normal(8, 3, 4, 4),
        w1=normal(*weights),
    )
    assert read_by_last_layer(Graph(model), "raw") == ("map", axis)


def test_tokens_get_a_branch_to_a_map_without_the_class_token() -> None:
    model = pixel_graph(
        helper.make_node("Reshape", ["pixels", "shape"], ["tokens"]),
        helper.make_node("Identity", ["tokens"], ["raw"]),
        shape=np.array([0, 48, 16]),
    )
    graph = Graph(model)
    found = FeatureMap("tokens", "tokens", 16, 1, 47, Shape((1, 48, 16), 1))

    stages, values = name_stages(graph, [found], FRAME)

    assert (stages[0].name, stages[0].channels, stages[0].stride) == ("stage_1", 16, SIDE)
    graph.set_outputs(values)
    pixels = normal(2, 3, SIDE, SIDE)
    (stage,) = unoptimized_session(graph.finish()).run(None, {"pixels": pixels})
    tokens = pixels.reshape(2, 48, 16)[:, 1:]
    np.testing.assert_array_equal(stage, tokens.reshape(2, 1, 47, 16).transpose(0, 3, 1, 2))


@pytest.mark.parametrize("operator", ["QLinearMatMul", "MatMulInteger", "Gemm"])
def test_a_product_of_two_activations_is_no_trained_layer(operator: str) -> None:
    """Its scales, zero points and bias are constants, as those of attention in a quantized transformer."""
    product = {
        "QLinearMatMul": (
            ["q", "s", "z", "q", "s", "z", "s", "z"],
            "QuantizeLinear",
            ["x", "s", "z"],
        ),
        "MatMulInteger": (["q", "q", "z", "z"], "QuantizeLinear", ["x", "s", "z"]),
        "Gemm": (["q", "q", "bias"], "Identity", ["x"]),
    }
    read, before, of = product[operator]
    model = pixel_graph(
        helper.make_node("Conv", ["pixels", "w"], ["map"], strides=[4, 4]),
        helper.make_node("GlobalAveragePool", ["map"], ["pooled"]),
        helper.make_node("Flatten", ["pooled"], ["x"]),
        helper.make_node(before, of, ["q"]),
        helper.make_node(operator, read, ["raw"]),
        w=normal(8, 3, 4, 4),
        s=np.array(0.1, np.float32),
        z=np.array(128, np.uint8),
        bias=normal(8),
    )
    assert read_by_last_layer(Graph(model), "raw") == ("pixels", 1)
    shapes = {name: Shape((1, 8, 4, 4), 1) for name in ("map",)}
    found = find_maps(model, shapes, "raw", FRAME)
    assert [one.tensor for one in found] == ["map"]


@pytest.mark.parametrize("operator", ["QLinearMatMul", "MatMulInteger"])
def test_position_codes_behind_a_product_of_activations_are_no_stage(operator: str) -> None:
    """What comes before the first layer with weights is no feature map, whatever was multiplied there."""
    read = {
        "QLinearMatMul": ["q", "s", "z", "q", "s", "z", "s", "z"],
        "MatMulInteger": ["q", "q", "z", "z"],
    }[operator]
    model = pixel_graph(
        helper.make_node("QuantizeLinear", ["pixels", "s", "z"], ["q"]),
        helper.make_node(operator, read, ["early"]),
        helper.make_node("Cast", ["early"], ["float"], to=1),
        helper.make_node("Conv", ["float", "w"], ["map"]),
        helper.make_node("Identity", ["map"], ["raw"]),
        w=normal(8, 3, 1, 1),
        s=np.array(0.1, np.float32),
        z=np.array(128, np.uint8),
    )
    shapes = {
        "float": Shape((1, 3, SIDE, SIDE), 1),
        "map": Shape((1, 8, SIDE, SIDE), 1),
        "raw": Shape((1, 8, SIDE, SIDE), 1),
    }
    assert "float" not in [one.tensor for one in find_maps(model, shapes, "raw", FRAME)]
    assert deepest_map(model, shapes, ["raw"], FRAME) in {"map", "raw"}
