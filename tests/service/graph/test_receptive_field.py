"""Receptive fields by arithmetic, against what really changes when a pixel does."""

from typing import Any

import numpy as np
import onnx
import onnxruntime as ort
from hypothesis import assume, given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray
from onnx import TensorProto, helper, numpy_helper

from service.graph.receptive_field import ReceptiveField, receptive_fields
from service.graph.wiring import Wiring

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
    nodes, weights, tensor = [], [], "image"
    for index, (kind, kernel, stride, padding, dilation) in enumerate(chosen):
        made = f"map_{index}"
        options: dict[str, Any] = {"strides": [stride, stride]}
        options["pads"] = (
            [padding, padding, padding + 1, padding + 1] if kind == "Conv" else [padding] * 4
        )
        if kind == "AveragePool":
            nodes.append(
                helper.make_node(
                    "AveragePool", [tensor], [made], kernel_shape=[kernel, kernel], **options
                )
            )
        else:
            weight = np.ones((1, 1, kernel, kernel), np.float32)
            weights.append(numpy_helper.from_array(weight, f"w_{index}"))
            inputs = [tensor, f"w_{index}"]
            dilations = [dilation, dilation]
            nodes.append(helper.make_node("Conv", inputs, [made], dilations=dilations, **options))
        tensor = made
    if skip:
        nodes.append(helper.make_node("Add", [tensor, "image"], ["sum"]))
        tensor = "sum"
    nodes.append(helper.make_node("Identity", [tensor], ["last"]))
    graph = helper.make_graph(
        nodes,
        "stack",
        [helper.make_tensor_value_info("image", TensorProto.FLOAT, ["N", 1, SIDE, SIDE])],
        [onnx.ValueInfoProto(name="last")],
        weights,
    )
    return helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=10)


def seen_rows(model: onnx.ModelProto) -> NDArray[np.intp]:
    """Return which rows of the image change a middle place."""
    session = ort.InferenceSession(model.SerializeToString(), providers=["CPUExecutionProvider"])
    impulses = np.zeros((SIDE, 1, SIDE, SIDE), np.float32)
    impulses[np.arange(SIDE), 0, np.arange(SIDE)] = 1
    (answer,) = session.run(None, {"image": impulses})
    place = answer.shape[2] // 2
    changed: NDArray[np.intp] = np.flatnonzero(answer[:, 0, place, place])
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
