"""The cost of an image."""

from onnx import helper

from exporter.cost import count_activation_bytes, count_cost, count_macs
from exporter.graph import GRAFT_PREFIX
from exporter.shapes import infer_shapes
from tests.exporter.graphs import normal, pixel_graph, small_classifier


def test_convolutions_and_matrix_products_count_and_nothing_else() -> None:
    cost = count_cost(small_classifier())
    assert cost.macs == 8 * 8 * 8 * 27 + 4 * 4 * 16 * 72 + 16 * 4
    assert cost.parameters == 8 * 27 + 16 * 72 + 16 * 4


def test_a_view_writes_nothing_and_every_other_node_its_output() -> None:
    model = small_classifier()
    shapes = infer_shapes(model)
    written = [count_activation_bytes(node, shapes) for node in model.graph.node]
    assert written == [2048, 2048, 1024, 1024, 64, 0, 16]


def test_constants_of_the_exporter_are_no_parameters() -> None:
    model = pixel_graph(
        helper.make_node("Mul", ["pixels", "gain"], ["raw"]), gain=normal(1, 3, 1, 1)
    )
    gain = f"{GRAFT_PREFIX}gain"
    model.graph.node[0].input[1] = model.graph.initializer[0].name = gain
    assert count_cost(model).parameters == 0


def test_a_transposed_convolution_costs_by_its_input() -> None:
    model = pixel_graph(
        helper.make_node("ConvTranspose", ["pixels", "w"], ["raw"], strides=[2, 2]),
        w=normal(3, 5, 2, 2),
    )
    assert count_macs(model.graph.node[0], infer_shapes(model)) == 16 * 16 * 3 * 5 * 4
