"""Receptive fields by arithmetic, against what really changes when a pixel does."""

from typing import Any

import numpy as np
import onnx
import pytest
from hypothesis import assume, given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray

from service.graph.receptive_field import ReceptiveField, receptive_fields
from service.graph.wiring import Wiring
from tests.service.graph.graphs import Node, graph_of, run

SIDE = 96

Layer = tuple[str, int, int, int, int]
"""Operator, kernel, stride, padding before and after, dilation."""


@st.composite
def layers(draw: st.DrawFn) -> Layer:
    kind = draw(st.sampled_from(["Conv", "AveragePool"]))
    kernel = draw(st.integers(1, 5))
    dilation = draw(st.integers(1, 2)) if kind == "Conv" else 1
    padding = draw(st.integers(0, (kernel - 1) // 2))
    return kind, kernel, draw(st.integers(1, 2)), padding, dilation


def stack(chosen: list[Layer], *, skip: bool = False) -> onnx.ModelProto:
    """Return convolutions of positive weights after one another: a pixel that reaches a place changes it."""
    nodes: list[Node] = []
    weights: dict[str, NDArray[np.float32]] = {}
    tensor = "image"
    for index, (kind, kernel, stride, padding, dilation) in enumerate(chosen):
        options: dict[str, Any] = {"strides": [stride, stride], "pads": [padding] * 4}
        inputs = [tensor]
        if kind == "Conv":
            weights[f"w_{index}"] = np.ones((1, 1, kernel, kernel), np.float32)
            inputs.append(f"w_{index}")
            options |= {
                "dilations": [dilation] * 2,
                "pads": [padding, padding, padding + 1, padding + 1],
            }
        else:
            options["kernel_shape"] = [kernel, kernel]
        nodes.append((kind, inputs, f"map_{index}", options))
        tensor = f"map_{index}"
    if skip:
        nodes.append(("Add", [tensor, "image"], "sum", {}))
        tensor = "sum"
    nodes.append(("Identity", [tensor], "last", {}))
    return graph_of(nodes, "last", weights, image=["N", 1, SIDE, SIDE], opset=17)


def seen_rows(model: onnx.ModelProto) -> NDArray[np.intp]:
    """Return which rows of the image change a middle place."""
    impulses = np.zeros((SIDE, 1, SIDE, SIDE), np.float32)
    impulses[np.arange(SIDE), 0, np.arange(SIDE)] = 1
    maps = run(model, impulses)
    middle = maps.shape[2] // 2
    changed: NDArray[np.intp] = np.flatnonzero(maps[:, 0, middle, middle])
    return changed


def field_of(model: onnx.ModelProto) -> ReceptiveField:
    return receptive_fields(Wiring(model.graph), ["last"])["last"]


@settings(max_examples=60, deadline=None)
@given(st.lists(layers(), min_size=1, max_size=4))
def test_what_reaches_a_place_is_what_changes_it(chosen: list[Layer]) -> None:
    model = stack(chosen)
    field = field_of(model)
    assert field.size is not None
    assume(field.size[0] < SIDE)  # else a map becomes smaller than the next kernel
    rows = seen_rows(model)
    step = int(np.prod([stride for _, _, stride, _, _ in chosen]))
    # Else the image's edge may cut the field: the rows that reach a place lie up to a step apart.
    assume(rows[0] >= step and rows[-1] < SIDE - step)
    assert rows[-1] + 1 - rows[0] == field.size[0]


@settings(max_examples=30, deadline=None)
@given(st.lists(layers(), min_size=1, max_size=4))
def test_what_matters_is_never_more_than_what_reaches(chosen: list[Layer]) -> None:
    field = field_of(stack(chosen))
    assert field.size is not None
    assert 1 <= field.effective[0] <= max(1.0, field.size[0])


def test_a_skip_sees_no_more_and_weighs_its_middle() -> None:
    chosen: list[Layer] = [("AveragePool", 5, 1, 2, 1)] * 4
    plain, skipped = field_of(stack(chosen)), field_of(stack(chosen, skip=True))
    assert plain.size == skipped.size == (17, 17)
    assert skipped.effective[0] < plain.effective[0]
    assert seen_rows(stack(chosen, skip=True)).tolist() == list(range(48 - 8, 48 + 9))


CONSTANTS = {
    "w3": np.ones((1, 1, 3, 3), np.float32),
    "w35": np.ones((1, 1, 3, 5), np.float32),
    "line": np.ones((1, 1, 3), np.float32),
    "scales": np.array([1, 1, 2, 2], np.float32),
    "height and width": np.array([2, 3]),
    "channels": np.array([1]),
    "one": np.array(1, np.float32),
    "m": np.ones((SIDE, SIDE), np.float32),
}


def field_after(*nodes: Node) -> ReceptiveField:
    return field_of(graph_of(nodes, "last", CONSTANTS, image=["N", 1, SIDE, SIDE]))


def test_the_image_itself_depends_on_one_pixel() -> None:
    field = field_after(("Relu", ["image"], "last", {}))
    assert field == ReceptiveField((1, 1), (1, 1))


def test_height_and_width_are_kept_apart() -> None:
    field = field_after(
        ("Conv", ["image", "w35"], "a", {"strides": [2, 3], "dilations": [1, 2]}),
        ("MaxPool", ["a"], "last", {"kernel_shape": [2, 2], "strides": [1, 1]}),
    )
    assert field.size == (3 + 2, 9 + 3)


@pytest.mark.parametrize(
    ("kind", "inputs"),
    [
        ("Conv", ["image", "w35"]),
        ("ConvInteger", ["image", "w35"]),
        ("QLinearConv", ["image", "one", "one", "w35", "one", "one", "one", "one"]),
        ("MaxPool", ["image"]),
        ("AveragePool", ["image"]),
        ("LpPool", ["image"]),
    ],
)
def test_every_operator_with_a_window_widens_the_field(kind: str, inputs: list[str]) -> None:
    options: dict[str, Any] = {"kernel_shape": [3, 5]} if kind.endswith("Pool") else {}
    once = field_after((kind, inputs, "last", options))
    assert once.size == (3, 5)
    twice = field_after((kind, inputs, "a", options), (kind, ["a", *inputs[1:]], "last", options))
    assert twice.size == (5, 9), "a stride that is not given is 1"


@pytest.mark.parametrize("kind", ["Resize", "Upsample", "ConvTranspose", "DepthToSpace"])
def test_every_upsampling_hides_the_step(kind: str) -> None:
    field = field_after(
        ("Conv", ["image", "w3"], "a", {"strides": [4, 4]}),
        (kind, ["a"], "b", {}),
        ("Conv", ["b", "w3"], "last", {}),
    )
    assert field.size == (5, 5)


def test_one_window_of_equal_weights_is_as_wide_as_its_normal_distribution() -> None:
    # The variance of a uniform step of n pixels is (n² − 1) / 12; the kernel's pixels are two apart.
    field = field_after(("Conv", ["image", "w35"], "last", {"dilations": [2, 1]}))
    assert field.effective == pytest.approx((2.355 * (4 * 8 / 12) ** 0.5, 2.355 * (24 / 12) ** 0.5))


def test_the_variances_of_layers_add_up_in_steps_of_the_layer_before() -> None:
    field = field_after(
        ("Conv", ["image", "w3"], "a", {"strides": [2, 2]}),
        ("Conv", ["a", "w3"], "last", {}),
    )
    assert field.size == (7, 7)
    assert field.effective[0] == pytest.approx(2.355 * (8 / 12 + 4 * 8 / 12) ** 0.5)


@pytest.mark.parametrize(
    "node",
    [
        ("GlobalAveragePool", ["a"], "last", {}),
        ("GlobalMaxPool", ["a"], "last", {}),
        ("MatMul", ["a", "a"], "last", {}),
        ("ReduceMean", ["a", "height and width"], "last", {}),
        ("ReduceMean", ["a"], "last", {}),
        ("ReduceMax", ["a"], "last", {"axes": [-1, -2]}),
        ("ReduceSum", ["a"], "last", {"axes": [1, 2]}),
        ("ReduceSum", ["a"], "last", {"axes": [-3, -2]}),
    ],
    ids=lambda node: node[0],
)
def test_pooling_and_attention_depend_on_the_whole_image(node: Node) -> None:
    field = field_after(("Conv", ["image", "w3"], "a", {}), node)
    assert field == ReceptiveField(None, (1, 1))


@pytest.mark.parametrize(
    "node",
    [
        ("ReduceMean", ["a", "channels"], "last", {}),
        ("MatMul", ["a", "m"], "last", {}),
        ("Conv", ["a", "line"], "last", {}),
        ("Conv", ["a", "computed"], "last", {}),
        ("MaxPool", ["a"], "last", {"kernel_shape": [3]}),
        ("MaxPool", ["a"], "last", {}),
    ],
    ids=[
        "over channels",
        "by a constant",
        "of one dimension",
        "of computed weights",
        "of one side",
        "of no size",
    ],
)
def test_what_mixes_no_positions_leaves_a_field_as_it_is(node: Node) -> None:
    assert field_after(("Conv", ["image", "w3"], "a", {}), node).size == (3, 3)


@pytest.mark.parametrize(
    "pooling",
    [
        ("GlobalAveragePool", ["a"], "gate", {}),
        ("ReduceMean", ["a", "height and width"], "gate", {}),
    ],
    ids=lambda node: node[0],
)
def test_a_gate_lets_the_whole_image_in_and_leaves_the_effective_field(pooling: Node) -> None:
    gated = field_after(
        ("Conv", ["image", "w3"], "a", {}),
        pooling,
        ("Mul", ["a", "gate"], "last", {}),
    )
    assert gated == ReceptiveField(
        None, field_after(("Conv", ["image", "w3"], "last", {})).effective
    )


def test_a_position_that_depends_on_everything_passes_it_on() -> None:
    gated = field_after(
        ("GlobalAveragePool", ["image"], "gate", {}),
        ("Mul", ["image", "gate"], "a", {}),
        ("Conv", ["a", "w3"], "last", {}),
    )
    assert gated.size is None
    assert gated.effective == field_after(("Conv", ["image", "w3"], "last", {})).effective


UPSAMPLED: tuple[Node, ...] = (
    ("Conv", ["image", "w3"], "a", {"strides": [4, 4]}),
    ("Resize", ["a", "", "scales"], "b", {}),
)


def test_after_upsampling_a_window_counts_in_pixels() -> None:
    assert field_after(*UPSAMPLED, ("Conv", ["b", "w3"], "last", {"strides": [2, 2]})).size == (
        5,
        5,
    )
    again: tuple[Node, ...] = (
        ("Conv", ["b", "w3"], "c", {"strides": [2, 2]}),
        ("Conv", ["c", "w3"], "last", {}),
    )
    assert field_after(*UPSAMPLED, *again).size == (7, 7)


def test_after_a_merge_the_step_is_that_of_the_branch_that_was_not_upsampled() -> None:
    merged = field_after(
        *UPSAMPLED,
        ("Conv", ["image", "w3"], "beside", {"strides": [2, 2]}),
        ("Concat", ["b", "beside"], "both", {"axis": 1}),
        ("Conv", ["both", "w3"], "last", {}),
    )
    assert merged.size == (3 + 2 * 2, 3 + 2 * 2)


def test_a_tensor_that_does_not_depend_on_the_image_has_no_field() -> None:
    model = graph_of([("Relu", ["image"], "last", {})], "last", CONSTANTS, image=[1, 1, 8, 8])
    assert list(receptive_fields(Wiring(model.graph), ["w3", "no such tensor", "last"])) == ["last"]


def test_an_output_that_a_node_leaves_out_has_no_field() -> None:
    model = graph_of([("Relu", ["image"], "last", {})], "last", {}, image=[1, 1, 8, 8])
    model.graph.node[0].output.append("")
    assert list(receptive_fields(Wiring(model.graph), ["", "last"])) == ["last"]
