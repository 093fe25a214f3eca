"""What a network's scores are is found out: an activation is never applied twice, and none is left out.

The right values are those of the source file in ONNX Runtime, or of NumPy on them.
"""

from pathlib import Path
from typing import Any

import numpy as np
import onnx
import onnxruntime
import pytest
from numpy.typing import NDArray
from onnx import helper, numpy_helper

from exporter.errors import RecipeError
from exporter.outcome import Exported
from tests.exporter.exporting import export_to, outputs_of, some_frames

SIDE = 16
ABC = ("a", "b", "c")
FRAMES = some_frames(3, SIDE)
Array = NDArray[Any]


def network(
    *end: onnx.NodeProto, classes: int = 3, maps: bool = False, **constants: Array
) -> onnx.ModelProto:
    """Return a graph of one convolution to `scores`, (N, K) or as maps (N, K, 4, 4); `end` makes `out` of it."""
    rng = np.random.default_rng(5)
    constants |= {
        "w": rng.standard_normal((classes, 3, 4, 4)).astype(np.float32),
        "b": np.linspace(-0.5, 0.5, classes, dtype=np.float32)
        if classes > 1
        else np.array([-0.7], np.float32),
    }
    nodes = [helper.make_node("Conv", ["pixels", "w", "b"], ["map"], strides=[4, 4])]
    nodes += (
        [helper.make_node("Identity", ["map"], ["scores"])]
        if maps
        else [
            helper.make_node("GlobalAveragePool", ["map"], ["pooled"]),
            helper.make_node("Flatten", ["pooled"], ["scores"]),
        ]
    )
    graph = helper.make_graph(
        [*nodes, *(end or [helper.make_node("Identity", ["scores"], ["out"])])],
        "net",
        [helper.make_tensor_value_info("pixels", 1, ["n", 3, SIDE, SIDE])],
        [helper.make_tensor_value_info("out", 1, None)],
        [numpy_helper.from_array(value, name) for name, value in constants.items()],
    )
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 18)], ir_version=8)
    return onnx.shape_inference.infer_shapes(model, data_prop=True)


def op(name: str, *inputs: str, output: str = "out", **attributes: Any) -> onnx.NodeProto:
    return helper.make_node(name, list(inputs) or ["scores"], [output], **attributes)


def truth(model: onnx.ModelProto) -> Array:
    """Return what the file computes for the frames, scaled to 0–1."""
    session = onnxruntime.InferenceSession(
        model.SerializeToString(), providers=["CPUExecutionProvider"]
    )
    pixels = np.ascontiguousarray(FRAMES.transpose(0, 3, 1, 2) / 255, np.float32)
    return np.asarray(session.run(None, {"pixels": pixels})[0])


def adopted(folder: Path, model: onnx.ModelProto, **fields: Any) -> tuple[Exported, Any]:
    onnx.save(model, folder / "net.onnx")
    done = export_to(folder, "onnx:net.onnx", **{"labels": ABC, **fields})
    return done, outputs_of(done.path, FRAMES)


SOFTMAX_BY_HAND = (
    op("Exp", output="power"),
    op("ReduceSum", "power", "axis", output="sum"),
    op("Div", "power", "sum"),
)


@pytest.mark.parametrize(
    "end",
    [
        (op("Softmax", axis=1),),
        (op("Softmax", axis=1, output="p"), op("Identity", "p")),
        SOFTMAX_BY_HAND,
    ],
    ids=["softmax", "before-identity", "by-hand"],
)
@pytest.mark.parametrize("activation", [None, "none"])
def test_a_classifier_s_own_softmax_is_kept(
    tmp_path: Path, end: tuple[onnx.NodeProto, ...], activation: str | None
) -> None:
    model = network(*end, axis=np.array([1]))
    _, found = adopted(tmp_path, model, classify={"activation": activation})
    np.testing.assert_allclose(found["probabilities"], truth(model), atol=1e-6)
    np.testing.assert_allclose(found["logits"], np.log(truth(model)), atol=1e-4)


def test_log_softmax_becomes_its_probabilities(tmp_path: Path) -> None:
    model = network(op("LogSoftmax", axis=1))
    _, found = adopted(tmp_path, model)
    np.testing.assert_allclose(found["probabilities"], np.exp(truth(model)), atol=1e-6)


@pytest.mark.parametrize(
    "end", [(op("Sigmoid"),), (op("Sigmoid", output="p"), op("Relu", "p"))], ids=["plain", "relu"]
)
def test_a_classifier_that_ends_in_a_sigmoid_has_several_labels(
    tmp_path: Path, end: tuple[onnx.NodeProto, ...]
) -> None:
    model = network(*end)
    done, found = adopted(tmp_path, model)
    np.testing.assert_allclose(found["probabilities"], truth(model), atol=1e-6)
    assert done.card.multi_label


@pytest.mark.parametrize("end", [(), (op("Relu"),), (op("LeakyRelu"),)])
def test_logits_get_a_softmax(tmp_path: Path, end: tuple[onnx.NodeProto, ...]) -> None:
    model = network(*end)
    done, found = adopted(tmp_path, model)
    powers = np.exp(truth(model))
    np.testing.assert_allclose(
        found["probabilities"], powers / powers.sum(axis=1, keepdims=True), atol=1e-6
    )
    assert not done.card.multi_label


@pytest.mark.parametrize(
    ("end", "fields", "message"),
    [
        (op("Softmax", axis=1), {"classify": {"activation": "softmax"}}, "on top of that"),
        (op("Softmax", axis=1), {"multi_label": True}, "--multi-label"),
        (op("Sigmoid"), {"classify": {"activation": "sigmoid"}}, "on top of that"),
        (op("LogSoftmax", axis=1), {"multi_label": True}, "log-softmax"),
        (op("Identity"), {"classify": {"activation": "none"}}, "--activation none says"),
        (op("HardSwish", output="out"), {"classify": {"activation": "none"}}, "--activation none"),
    ],
)
def test_a_statement_that_contradicts_the_network_is_refused(
    tmp_path: Path, end: onnx.NodeProto, fields: dict[str, Any], message: str
) -> None:
    with pytest.raises(RecipeError, match=message):
        adopted(tmp_path, network(end), **fields)


BY_HAND = (
    op("Neg", output="minus"),
    op("Exp", "minus", output="power"),
    op("Add", "power", "one", output="sum"),
    op("Reciprocal", "sum"),
)


@pytest.mark.parametrize(
    ("end", "message"),
    [
        (BY_HAND, "may be probabilities or logits.*--activation none"),
        ((op("Sigmoid", output="p"), op("Log", "p")), "logarithms.*--activation exp"),
        (
            (op("Softmax", output="p", axis=1), op("Mul", "p", "hundred")),
            "same sum.*--activation percent",
        ),
    ],
)
def test_what_can_not_be_known_needs_an_option(
    tmp_path: Path, end: tuple[onnx.NodeProto, ...], message: str
) -> None:
    constants: dict[str, Any] = {
        "one": np.array([1], np.float32),
        "hundred": np.array([100], np.float32),
    }
    with pytest.raises(RecipeError, match=message):
        adopted(tmp_path, network(*end, **constants))


def test_what_can_not_be_known_can_be_stated(tmp_path: Path) -> None:
    model = network(*BY_HAND, one=np.array([1], np.float32))
    _, found = adopted(tmp_path, model, classify={"activation": "none"})
    np.testing.assert_allclose(found["probabilities"], truth(model), atol=1e-6)


@pytest.mark.parametrize(
    "shape", [None, [-1], [-1, 1, 1, 1]], ids=["two axes", "one axis", "four axes"]
)
def test_one_logit_is_the_probability_of_its_label(tmp_path: Path, shape: list[int] | None) -> None:
    end = () if shape is None else (op("Reshape", "scores", "shape"),)
    model = network(*end, classes=1, shape=np.array(shape or [0]))
    _, found = adopted(tmp_path, model, labels=["defect"])
    logits = truth(model).reshape(3, 1)
    np.testing.assert_allclose(found["probabilities"], 1 / (1 + np.exp(-logits)), atol=1e-6)
    np.testing.assert_allclose(found["logits"], logits, atol=1e-5)


def test_one_logit_with_two_labels_is_the_second_one_s(tmp_path: Path) -> None:
    model = network(classes=1)
    _, found = adopted(tmp_path, model, labels=["good", "defect"])
    positive = 1 / (1 + np.exp(-truth(model)))
    np.testing.assert_allclose(
        found["probabilities"], np.hstack([1 - positive, positive]), atol=1e-6
    )


def test_a_softmax_over_one_class_is_refused(tmp_path: Path) -> None:
    with pytest.raises(RecipeError, match=r"1\.0 for every image"):
        adopted(tmp_path, network(op("Softmax", axis=1), classes=1), labels=["defect"])


def test_several_logits_may_have_axes_of_size_one(tmp_path: Path) -> None:
    model = network(op("Reshape", "scores", "shape"), shape=np.array([-1, 3, 1, 1]))
    _, found = adopted(tmp_path, model)
    np.testing.assert_allclose(found["logits"], truth(model).reshape(3, 3), atol=1e-5)


@pytest.mark.parametrize("sized", [False, True])
def test_a_segmenter_s_own_sigmoid_is_kept(tmp_path: Path, sized: bool) -> None:  # noqa: FBT001 - a parameter
    end = [op("Sigmoid", output="p")]
    end.append(op("Resize", "p", "", "scales", mode="nearest") if sized else op("Identity", "p"))
    model = network(*end, classes=1, maps=True, scales=np.array([1, 1, 4, 4], np.float32))
    _, found = adopted(tmp_path, model, task="segment", labels=["background", "object"])
    inside = found["mask"][:, 2::4, 2::4]
    own = truth(model)[:, 0]
    own = own[:, 2::4, 2::4] if sized else own
    assert own.min() < 0.5 < own.max() or inside.max() == 0
    if sized:
        np.testing.assert_array_equal(inside, own > 0.5)


def test_sigmoids_of_a_segmenter_have_a_label_for_what_none_of_them_is(tmp_path: Path) -> None:
    end = [op("Sigmoid", output="p"), op("Resize", "p", "", "scales", mode="nearest")]
    model = network(*end, classes=2, maps=True, scales=np.array([1, 1, 4, 4], np.float32))
    labels = ["background", "cat", "dog"]
    _, found = adopted(tmp_path, model, task="segment", labels=labels)
    own = truth(model)
    expected = np.where(own.max(axis=1) > 0.5, own.argmax(axis=1) + 1, 0)
    np.testing.assert_array_equal(found["mask"], expected)


def test_sigmoids_that_leave_most_pixels_without_a_class_are_asked_about(tmp_path: Path) -> None:
    ends = [op("Sub", "scores", "much", output="low"), op("Sigmoid", "low", output="p")]
    much = np.array(50, np.float32)
    model = network(*ends, op("Identity", "p"), classes=2, maps=True, much=much)
    with pytest.raises(RecipeError, match="none of the classes has"):
        adopted(tmp_path, model, task="segment", labels=["cat", "dog"])
    stated = {"activation": "none"}
    _, found = adopted(tmp_path, model, task="segment", labels=["cat", "dog"], segment=stated)
    assert set(np.unique(found["mask"])) <= {0, 1}


def test_probabilities_times_255_of_a_segmenter_need_an_option(tmp_path: Path) -> None:
    end = (op("Sigmoid", output="p"), op("Mul", "p", "levels"))
    model = network(*end, classes=1, maps=True, levels=np.array([255], np.float32))
    with pytest.raises(RecipeError, match=r"sigmoid times a factor.*export the network without it"):
        adopted(tmp_path, model, task="segment", labels=["background", "object"])


@pytest.mark.parametrize(("kind", "keepdims"), [(None, 0), (None, 1), (1, 0), (1, 1)], ids=str)
def test_the_class_of_each_pixel_is_refused(
    tmp_path: Path, kind: int | None, keepdims: int
) -> None:
    chosen = op("ArgMax", output="ids" if kind else "out", axis=1, keepdims=keepdims)
    model = network(chosen, *([op("Cast", "ids", to=kind)] if kind else []), maps=True)
    model.graph.output[0].type.tensor_type.elem_type = kind or 7
    with pytest.raises(RecipeError, match="without its ArgMax"):
        adopted(tmp_path, model, task="segment", labels=["background", "object"])


def test_three_labels_for_one_map_name_what_it_may_be(tmp_path: Path) -> None:
    model = network(op("ArgMax", output="ids", axis=1), op("Cast", "ids", to=1), maps=True)
    with pytest.raises(RecipeError, match=r"3 are given.*one map.*background's first.*ArgMax"):
        adopted(tmp_path, model, task="segment", labels=["a", "b", "c"])


@pytest.mark.parametrize("own", [False, True], ids=["logit", "sigmoid"])
def test_a_segmenter_s_map_may_have_no_axis_of_classes(tmp_path: Path, own: bool) -> None:  # noqa: FBT001 - a parameter
    end = [op("Sigmoid", output="p")] if own else []
    end.append(op("Squeeze", "p" if own else "scores", "one"))
    model = network(*end, classes=1, maps=True, one=np.array([1]))
    with_axis = network(op("Sigmoid"), classes=1, maps=True)
    (tmp_path / "plain").mkdir()
    fields: dict[str, Any] = {"task": "segment", "labels": ["background", "object"]}
    _, found = adopted(tmp_path, model, **fields)
    _, plain = adopted(tmp_path / "plain", with_axis, **fields)
    np.testing.assert_array_equal(found["mask"], plain["mask"])
    inner = found["confidence"][:, 2::4, 2::4].astype(float) / 255
    assert inner.min() >= 0.49
    assert truth(model).shape == (3, 4, 4)


def test_a_segmenter_s_own_softmax_keeps_its_confidence(tmp_path: Path) -> None:
    end = (
        op("Softmax", output="p", axis=1),
        op("Resize", "p", "", "scales", mode="nearest"),
    )
    model = network(*end, maps=True, scales=np.array([1, 1, 4, 4], np.float32))
    _, found = adopted(tmp_path, model, task="segment")
    np.testing.assert_array_equal(found["mask"], truth(model).argmax(axis=1))
    np.testing.assert_allclose(found["confidence"] / 255, truth(model).max(axis=1), atol=0.003)


@pytest.mark.parametrize(
    ("end", "activation", "message"),
    [
        (op("Sigmoid"), "sigmoid", "on top of that"),
        (op("Softmax", axis=1), "softmax", "on top of that"),
        (op("Identity"), "none", "--activation none says"),
    ],
)
def test_a_segmenter_s_activation_is_not_applied_twice(
    tmp_path: Path, end: onnx.NodeProto, activation: str, message: str
) -> None:
    with pytest.raises(RecipeError, match=message):
        adopted(
            tmp_path,
            network(end, maps=True),
            task="segment",
            segment={"activation": activation},
        )


def detector(*end: onnx.NodeProto, named: bool = False) -> onnx.ModelProto:
    """Return a graph of 16 boxes with three scores; `named` has a score and a class, 0, 39 or 78, in their place."""
    nodes = [
        op("Reshape", "scores", "flat", output="columns"),
        op("Transpose", "columns", output="rows", perm=[0, 2, 1]),
        op("Slice", "rows", "zero", "four", "two", output="corners"),
        op("Sigmoid", "corners", output="boxes"),
        op("Slice", "rows", "four", "seven", "two", output="logits"),
        *end,
    ]
    last = ["boxes", "confidences"]
    if named:
        last = ["boxes", "best", "kinds"]
        nodes += [
            op("ReduceMax", "confidences", "two", output="best", keepdims=1),
            op("ArgMax", "confidences", output="index", axis=2, keepdims=1),
            op("Cast", "index", output="id", to=1),
            op("Mul", "id", "spread", output="kinds"),
        ]
    nodes.append(op("Concat", *last, axis=2))
    constants = {
        name: np.array([at]) for name, at in (("zero", 0), ("two", 2), ("four", 4), ("seven", 7))
    }
    model = network(
        *nodes,
        classes=7,
        maps=True,
        flat=np.array([0, 7, 16]),
        spread=np.array([39], np.float32),
        **constants,
    )
    if not named:
        del model.graph.output[:]
        model.graph.output.extend(
            helper.make_tensor_value_info(name, 1, ["n", 16, columns])
            for name, columns in (("boxes", 4), ("confidences", 3))
        )
    return model


@pytest.mark.parametrize(
    ("end", "activation", "message"),
    [
        ("Sigmoid", "sigmoid", "probabilities already.*--activation none"),
        ("Softmax", "softmax", "probabilities already"),
        ("Identity", None, "--activation sigmoid or softmax"),
        ("Identity", "none", "--activation none says"),
    ],
)
def test_a_detector_s_activation_is_neither_applied_twice_nor_left_out(
    tmp_path: Path, end: str, activation: str | None, message: str
) -> None:
    model = detector(op(end, "logits", output="confidences"))
    with pytest.raises(RecipeError, match=message):
        adopted(tmp_path, model, task="detect", detect={"score_activation": activation})


@pytest.mark.parametrize(("end", "activation"), [("Sigmoid", None), ("Identity", "sigmoid")])
def test_a_detector_s_scores_are_probabilities(
    tmp_path: Path, end: str, activation: str | None
) -> None:
    model = detector(op(end, "logits", output="confidences"))
    _, found = adopted(tmp_path, model, task="detect", detect={"score_activation": activation})
    right = truth(detector(op("Sigmoid", "logits", output="confidences"), named=True))
    np.testing.assert_allclose(found["scores"][:, 0], right[..., 4].max(axis=1), atol=1e-6)


def test_a_linear_detector_s_scores_in_0_to_1_are_asked_about_and_kept_where_it_is_stated(
    tmp_path: Path,
) -> None:
    """A sum of linear values: by their numbers probabilities, as after a calibration, or logits that are small."""
    end = (
        op("Mul", "logits", "little", output="small"),
        op("Add", "small", "half", output="confidences"),
    )
    model = detector(*end)
    for name, value in (("little", 0.05), ("half", 0.5)):
        held = numpy_helper.from_array(np.array([value], np.float32), name)
        model.graph.initializer.append(held)
    with pytest.raises(RecipeError, match=r"a linear layer computes them.*--activation sigmoid"):
        adopted(tmp_path, model, task="detect")
    _, found = adopted(tmp_path, model, task="detect", detect={"score_activation": "none"})
    session = onnxruntime.InferenceSession(model.SerializeToString())
    pixels = np.ascontiguousarray(FRAMES.transpose(0, 3, 1, 2) / 255, np.float32)
    own = session.run(["confidences"], {"pixels": pixels})[0]
    np.testing.assert_allclose(found["scores"][:, 0], own.max(axis=(1, 2)), atol=1e-6)


def test_fewer_labels_than_an_end_to_end_detector_s_classes_are_refused(tmp_path: Path) -> None:
    model = detector(op("Sigmoid", "logits", output="confidences"), named=True)
    fields = {"task": "detect", "detect": {"decoder": "end2end", "box_unit": "frame"}}
    with pytest.raises(RecipeError, match=r"labels: 3 are given, .* detects class \d+"):
        adopted(tmp_path, model, **fields)
    adopted(tmp_path, model, labels=["x"] * 80, **fields)


def test_the_classes_in_a_file_s_metadata_need_their_labels(tmp_path: Path) -> None:
    model = detector(op("Sigmoid", "logits", output="confidences"), named=True)
    names = {class_id: f"class {class_id}" for class_id in range(80)}
    model.metadata_props.append(onnx.StringStringEntryProto(key="names", value=str(names)))
    fields = {"task": "detect", "detect": {"decoder": "end2end", "box_unit": "frame"}}
    with pytest.raises(RecipeError, match="labels: 70 are given, the network has 80 classes"):
        adopted(tmp_path, model, labels=["x"] * 70, **fields)
    done, _ = adopted(tmp_path, model, labels=None, **fields)
    assert (len(done.card.labels), done.card.labels[79]) == (80, "class 79")


TOP_THREE = op("TopK", "p", "three", output="best")
TOP_THREE.output.append("places")


@pytest.mark.parametrize(
    ("end", "message"),
    [
        ((op("Softmax", axis=1, output="p"), TOP_THREE, op("Identity", "best")), "--outputs p "),
        ((op("LogSoftmax", axis=1, output="l"), op("Neg", "l")), "negative log-softmax"),
        ((op("Softmax", axis=1, output="p"), op("Neg", "p")), "negative probabilities"),
    ],
    ids=["sorted", "nll", "negative"],
)
def test_values_that_are_no_scores_of_classes_are_refused(
    tmp_path: Path, end: tuple[onnx.NodeProto, ...], message: str
) -> None:
    with pytest.raises(RecipeError, match=message):
        adopted(tmp_path, network(*end, three=np.array([3])))


def test_the_scores_before_a_sort_can_be_taken(tmp_path: Path) -> None:
    model = network(
        op("Softmax", axis=1, output="p"), TOP_THREE, op("Identity", "best"), three=np.array([3])
    )
    _, found = adopted(tmp_path, model, outputs=("p",))
    unsorted = truth(network(op("Softmax", axis=1)))
    np.testing.assert_allclose(found["probabilities"], unsorted, atol=1e-6)


def two_outputs(first: str, second: str) -> onnx.ModelProto:
    """Return a network whose first output is one tenth of its second one, plus one."""
    model = network(
        op("Identity", output=second),
        op("Mul", second, "tenth", output="small"),
        op("Add", "small", "one", output=first),
        tenth=np.array(0.1, np.float32),
        one=np.array(1, np.float32),
    )
    del model.graph.output[:]
    model.graph.output.extend(helper.make_tensor_value_info(n, 1, None) for n in (first, second))
    return model


@pytest.mark.parametrize(
    ("first", "second"),
    [
        ("aux", "logits"),
        ("aux_out", "main"),
        ("x", "head/logits"),
        ("Aux.1", "z"),
        ("z", "probs:0"),
    ],
)
def test_the_output_that_is_named_like_scores_is_taken(
    first: str, second: str, tmp_path: Path
) -> None:
    _, found = adopted(tmp_path, two_outputs(first, second))
    scores = truth(network())
    np.testing.assert_allclose(found["logits"], scores, atol=1e-5)


def test_two_outputs_that_could_both_be_scores_need_an_option(tmp_path: Path) -> None:
    with pytest.raises(RecipeError, match=r"outputs 100 .*, 101 .*--outputs 100"):
        adopted(tmp_path, two_outputs("100", "101"))
    _, found = adopted(tmp_path, two_outputs("100", "101"), outputs=("101",))
    np.testing.assert_allclose(found["logits"], truth(network()), atol=1e-5)


def test_a_segmenter_s_softmax_over_the_width_is_refused(tmp_path: Path) -> None:
    with pytest.raises(RecipeError, match=r"columns of a map \(axis 3\).*over the classes"):
        adopted(tmp_path, network(op("Softmax", axis=3), maps=True), task="segment")


BESIDE = {
    "a tanh": [op("Tanh", output="other")],
    "a ReLU": [op("Relu", output="other")],
    "a length of one": [op("LpNormalization", output="other", axis=1)],
    "an ArgMax": [
        op("ArgMax", output="best", axis=1),
        op("Cast", "best", output="other", to=1),
    ],
}


@pytest.mark.parametrize("beside", BESIDE)
def test_logits_beside_columns_of_another_end_are_asked_about(tmp_path: Path, beside: str) -> None:
    width = 4 if beside == "an ArgMax" else 6
    model = network(*BESIDE[beside], op("Concat", "scores", "other", axis=1))
    labels = [f"kind {index}" for index in range(width)]
    onnx.save(model, tmp_path / "net.onnx")
    with pytest.raises(RecipeError, match=r"joined of parts that end in different ways.*softmax"):
        export_to(tmp_path, "onnx:net.onnx", labels=labels)
    stated = {"classify": {"activation": "softmax"}}
    assert export_to(tmp_path, "onnx:net.onnx", labels=labels, **stated).card.certificate


def test_logits_of_several_layers_and_one_end_are_joined_as_before(tmp_path: Path) -> None:
    model = network(
        op("Mul", "scores", "two", output="twice"),
        op("Concat", "scores", "twice", axis=1),
        two=np.array(2, np.float32),
    )
    onnx.save(model, tmp_path / "net.onnx")
    done = export_to(tmp_path, "onnx:net.onnx", labels=list("abcdef"))
    found = outputs_of(done.path, FRAMES)
    np.testing.assert_allclose(found["probabilities"].sum(axis=1), 1, atol=1e-5)
    np.testing.assert_allclose(found["logits"][:, 3:], 2 * found["logits"][:, :3], rtol=1e-4)


def test_the_best_class_alone_is_no_probability(tmp_path: Path) -> None:
    model = network(
        op("ArgMax", output="best", axis=1, keepdims=0),
        op("OneHot", "best", "three", "off_on"),
        three=np.array(3, np.int64),
        off_on=np.array([0, 1], np.float32),
    )
    onnx.save(model, tmp_path / "net.onnx")
    with pytest.raises(
        RecipeError, match=r"1 for one class and 0 for all others.*--activation none"
    ):
        export_to(tmp_path, "onnx:net.onnx", labels=list(ABC))
    stated = {"classify": {"activation": "none"}}
    done = export_to(tmp_path, "onnx:net.onnx", labels=list(ABC), **stated)
    assert set(np.unique(outputs_of(done.path, FRAMES)["probabilities"])) <= {0.0, 1.0}
