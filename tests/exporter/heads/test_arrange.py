"""Outputs are put in the order of the task's head, and their shapes show a detector's form.

The shapes are those that the tools themselves write: Ultralytics' YOLOs, YOLOX and YOLOv6, RT-DETR, Hugging Face's DETR
family, TensorFlow's object detection API.
"""

from typing import Any

import pytest

from exporter.errors import RecipeError
from exporter.heads.arrange import arrange
from exporter.heads.grids import grid_strides
from exporter.heads.one_output import COLUMNS, ROWS, SEVEN, SIX
from exporter.heads.raw_tensor import Dims, Tensor
from exporter.recipe import Recipe, make_recipe
from service.card import ImageInput

FRAME = ImageInput(height=640, width=640, resize="stretch")


def recipe(task: str, **fields: Any) -> Recipe:
    return make_recipe({"source": "onnx:net.onnx", "task": task, "name": "net", **fields})


def names(task: str, *outputs: Tensor, labels: int = 0, **fields: Any) -> list[str]:
    """Return the names of the outputs in the order of the head."""
    return [one.name for one in arrange(recipe(task, **fields), outputs, FRAME, labels)[1]]


def single(dims: Dims, labels: int = 0) -> str:
    """Return the decoder for a detector's only output."""
    found, _ = arrange(recipe("detect"), [Tensor("output0", dims)], FRAME, labels)
    return found.detect.decoder


@pytest.mark.parametrize(
    ("height", "width", "cells", "strides"),
    [
        # 80·80 + 40·40 + 20·20, and with one of 10·10 more.
        (640, 640, 8400, (8, 16, 32)),
        (640, 640, 8500, (8, 16, 32, 64)),
        # 160·160 more.
        (640, 640, 34000, (4, 8, 16, 32)),
        (640, 640, 2000, (16, 32)),
        (640, 640, 400, (32,)),
        (640, 640, 8401, None),
        # Of P3 to P7, P2 to P6, and of the two or three levels of small networks.
        (640, 640, 8525, (8, 16, 32, 64, 128)),
        (640, 640, 34100, (4, 8, 16, 32, 64)),
        (640, 640, 33600, (4, 8, 16)),
        (640, 640, 2100, (16, 32, 64)),
        (128, 128, 320, (8, 16)),
        (96, 160, 300, (8, 16)),
        # Grids are rounded up: 13·7 + 7·4 + 4·2.
        (100, 50, 127, (8, 16, 32)),
        (384, 640, 5040, (8, 16, 32)),
    ],
)
def test_the_cells_of_usual_grids_are_counted(
    height: int, width: int, cells: int, strides: tuple[int, ...] | None
) -> None:
    frame = ImageInput(height=height, width=width, resize="stretch")

    assert grid_strides(cells, frame) == strides


@pytest.mark.parametrize(
    ("dims", "labels", "decoder"),
    [
        ((1, 84, 8400), 0, "yolov8"),
        ((1, 84, 8400), 80, "yolov8"),
        ((1, 5, 8400), 1, "yolov8"),
        ((1, 25200, 85), 0, "yolov5"),
        ((1, 25200, 85), 80, "yolov5"),
        # One class: box, objectness, score. The number of rows shows that it is no list of detections.
        ((1, 25200, 6), 1, "yolov5"),
        ((1, 300, 6), 0, SIX),
        ((1, 300, 6), 80, SIX),
        ((1, 300, 6), 2, SIX),
        ((1, 3000, 6), 0, SIX),
        ((1, 3001, 6), 0, "pair"),
        # Three times the cells of one grid, 400, is a coincidence.
        ((1, 1200, 6), 0, SIX),
        ((1, 100, 7), 0, SEVEN),
        ((1, 3000, 7), 0, SEVEN),
        ((1, 3001, 7), 0, "pair"),
        ((1, 300, 84), 0, "detr"),
        ((1, 300, 84), 80, "detr"),
        ((1, 1000, 84), 80, "detr"),
        ((1, 1001, 84), 80, "pair"),
        ((1, 300, 4), 0, "pair"),
        ((1, 300, 5), 0, "detr"),
        # No usual grid: columns are boxes where there are more than four times as many as rows, or the labels say it.
        ((1, 20, 81), 0, "yolov8"),
        ((1, 20, 80), 0, "detr"),
        ((1, 20, 30), 16, "yolov8"),
        # One label: a column for each box, or rows of seven values.
        ((1, 5, 8), 1, "yolov8"),
        ((1, 5, 7), 1, SEVEN),
        ((1, 6, 7), 2, SEVEN),
        ((1, 6, 8), 2, "yolov8"),
        ((7,), 0, "pair"),
    ],
)  # fmt: skip
def test_the_shape_of_one_output_shows_the_decoder(dims: Dims, labels: int, decoder: str) -> None:
    assert single(dims, labels) == decoder


@pytest.mark.parametrize(("rows", "decoder"), [(300, "detr"), (6300, "yolov5")])
def test_queries_are_no_anchors_of_one_grid(rows: int, decoder: str) -> None:
    frame = ImageInput(height=320, width=320, resize="stretch")
    settled, _ = arrange(recipe("detect"), [Tensor("output0", (1, rows, 84))], frame, 80)
    assert settled.detect.decoder == decoder


@pytest.mark.parametrize(("labels", "decoder"), [(0, ROWS), (1, ROWS), (3, SIX), (80, SIX)])
def test_a_list_of_detections_may_be_as_long_as_a_grid(labels: int, decoder: str) -> None:
    """A hundred rows of six values are the cells of 320 pixels at stride 32: labels tell which."""
    frame = ImageInput(height=320, width=320, resize="stretch")
    settled, _ = arrange(recipe("detect"), [Tensor("output0", (1, 100, 6))], frame, labels)
    assert settled.detect.decoder == decoder


@pytest.mark.parametrize(
    ("dims", "labels"),
    [((1, 8400, 85), 0), ((1, 8400, 85), 80), ((1, 8400, 6), 1), ((1, 8400, 7), 0)],
)
def test_yolox_and_yolov6_look_the_same(dims: Dims, labels: int) -> None:
    assert single(dims, labels) == ROWS


@pytest.mark.parametrize(
    ("dims", "labels", "decoder"),
    [
        ((1, 85, 8400), 80, COLUMNS),
        ((1, 6, 8400), 1, COLUMNS),
        # No grid has so many cells; the labels show it none the less.
        ((1, 6, 50), 1, COLUMNS),
        ((1, 6, 8400), 2, "yolov8"),
        ((1, 6, 8400), 3, "yolov8"),
        # Rows of a box, a score and a class.
        ((1, 6, 6), 1, SIX),
        ((1, 8400, 84), 80, "yolov8_rows"),
        ((1, 8400, 6), 2, "yolov8_rows"),
    ],
)
def test_the_labels_show_a_column_beside_the_classes(dims: Dims, labels: int, decoder: str) -> None:
    assert single(dims, labels) == decoder


def test_of_two_axes_that_are_those_of_a_grid_the_labels_show_which_has_the_boxes() -> None:
    frame = ImageInput(height=160, width=160, resize="stretch")
    for labels, decoder in ((20, ROWS), (0, "yolov8"), (521, "yolov8")):
        settled, _ = arrange(recipe("detect"), [Tensor("output0", (1, 525, 25))], frame, labels)
        assert settled.detect.decoder == decoder


def test_two_heads_that_are_both_named_as_scores_are_asked_about() -> None:
    logits, scores = Tensor("logits", (1, 5), origin="a"), Tensor("scores", (1, 5), origin="b")
    for ordered in ([logits, scores], [scores, logits]):
        with pytest.raises(RecipeError, match=r"logits .*could be the scores.*--outputs"):
            names("classify", *ordered)
    with pytest.raises(RecipeError, match="--outputs"):
        names("classify", logits, scores, Tensor("probs", (1, 5), origin="a"))
    same = Tensor("scores", (1, 5), origin="a")
    assert names("classify", logits, same)[0] == "scores"
    # What its author calls otherwise, or has another number of values, is no rival.
    assert names("classify", logits, Tensor("quality", (1, 5), origin="b"))[0] == "logits"
    assert names("classify", logits, Tensor("scores", (1, 4), origin="b"), labels=5)[0] == "logits"
    assert names("classify", logits, scores, outputs=["logits"])[0] == "logits"


def test_the_recipe_s_labels_count_before_those_of_the_file() -> None:
    stated = recipe("detect", labels=[f"kind {index}" for index in range(80)])
    found, _ = arrange(stated, [Tensor("output0", (1, 84, 85))], FRAME, 81)

    assert found.detect.decoder == "yolov8"


BOXES, SCORES = Tensor("b", (1, 9, 4)), Tensor("s", (1, 9, 3))


@pytest.mark.parametrize(
    ("outputs", "ordered"),
    [
        ([BOXES, SCORES], ["b", "s"]),
        ([SCORES, BOXES], ["b", "s"]),
        # Scores (N, K, A), and boxes (N, A, 1, 4) as YOLOv4 has them.
        ([Tensor("s", (1, 3, 9)), Tensor("b", (1, 9, 1, 4))], ["b", "s"]),
        # With four classes the names decide.
        ([Tensor("scores", (1, 9, 4)), Tensor("pred_boxes", (1, 9, 4))], ["pred_boxes", "scores"]),
        # Further outputs are left out.
        ([Tensor("other", (1, 7)), SCORES, BOXES], ["b", "s"]),
    ],
)
def test_boxes_come_before_scores(outputs: list[Tensor], ordered: list[str]) -> None:
    found, tensors = arrange(recipe("detect"), outputs, FRAME)

    assert [one.name for one in tensors] == ordered
    assert found.detect.decoder == "pair"


def test_boxes_for_another_number_of_scores_are_no_pair() -> None:
    assert names("detect", Tensor("s", (1, 8, 3)), BOXES) == ["s", "b"]
    assert names("detect", Tensor("m", (1, 9, 2, 4)), SCORES) == ["s", "m"]


@pytest.mark.parametrize(
    "outputs",
    [
        [Tensor("s", (1, 9)), Tensor("labels", (1, 9)), BOXES],
        [Tensor("pred_cls", (1, 9)), Tensor("s", (1, 9)), BOXES],
        [Tensor("detection_classes", (1, 9)), BOXES, Tensor("s", (1, 9))],
        [BOXES, Tensor("ids", (1, 9), is_integer=True), Tensor("s", (1, 9))],
        # A name counts before a type.
        [BOXES, Tensor("s", (1, 9), is_integer=True), Tensor("category", (1, 9))],
    ],
)
def test_boxes_scores_and_classes_are_known_by_name_or_type(outputs: list[Tensor]) -> None:
    found, tensors = arrange(recipe("detect"), outputs, FRAME)

    assert found.detect.decoder == "triple"
    assert [one.name for one in tensors[:2]] == ["b", "s"]
    assert len(tensors) == 3


def test_scores_and_classes_that_look_the_same_need_their_names() -> None:
    with pytest.raises(RecipeError, match=r"outputs x, y holds.*BOXES,SCORES,CLASSES"):
        names("detect", Tensor("x", (1, 9)), BOXES, Tensor("y", (1, 9)))


@pytest.mark.parametrize(
    ("decoder", "ordered"),
    [("pair", ["b", "s"]), ("yolov5", ["s", "m", "b"]), ("triple", ["m", "s", "b"])],
)
def test_a_stated_decoder_takes_what_it_can_read(decoder: str, ordered: list[str]) -> None:
    outputs = (Tensor("m", (1, 2, 9, 9)), SCORES, BOXES)

    found, tensors = arrange(recipe("detect", detect={"decoder": decoder}), outputs, FRAME)

    assert found.detect.decoder == decoder
    assert [one.name for one in tensors] == ordered


@pytest.mark.parametrize(
    ("name", "form"),
    [
        ("pred_boxes", ("cxcywh", "frame", True)),
        ("dets", ("cxcywh", "frame", True)),
        ("detection_boxes", ("yxyx", "frame", True)),
        ("detection_boxes:0", ("yxyx", "frame", True)),
        ("boxes", ("xyxy", "frame", False)),
    ],
)
def test_the_name_of_boxes_stands_for_their_form(name: str, form: tuple[str, str, bool]) -> None:
    outputs = [Tensor(name, (1, 9, 4)), SCORES]
    detect = arrange(recipe("detect"), outputs, FRAME)[0].detect
    stated = recipe("detect", detect={"decoder": "pair", "box_format": "xywh", "nms_free": False})
    kept = arrange(stated, outputs, FRAME)[0].detect

    assert (detect.box_format, detect.box_unit, detect.nms_free) == form
    assert (kept.box_format, kept.box_unit, kept.nms_free) == ("xywh", "frame", False)


def test_prototypes_of_masks_are_refused() -> None:
    boxes, prototypes = Tensor("output0", (1, 116, 8400)), Tensor("output1", (1, 32, 160, 160))

    with pytest.raises(RecipeError, match="mask prototypes"):
        names("detect", boxes, prototypes)
    assert names("detect", boxes, Tensor("output1", (1, 31, 160, 160)))[0] == "output0"


@pytest.mark.parametrize(
    ("outputs", "words"),
    [
        (
            [*(Tensor(f"cls{n}", (1, n, 80)) for n in (64, 16)), *(Tensor(f"reg{n}", (1, n, 32)) for n in (64, 16))],
            "several levels, whose boxes are not decoded",
        ),
    ],
)  # fmt: skip
def test_boxes_in_a_form_without_a_decoder_are_refused(outputs: list[Tensor], words: str) -> None:
    with pytest.raises(RecipeError, match=words):
        names("detect", *outputs)


def test_the_best_class_alone_is_refused() -> None:
    with pytest.raises(RecipeError, match=r"class holds whole numbers.*without its ArgMax"):
        names("classify", Tensor("class", (1,), is_integer=True))


VECTOR = Tensor("vector", (1, 5))


@pytest.mark.parametrize(
    ("outputs", "labels", "first"),
    [
        ([Tensor("a", (1, 7)), Tensor("b", (1, 5))], 5, "b"),
        ([Tensor("a", (1, 7)), Tensor("b", (1, 5, 1, 1))], 5, "b"),
        # (N, K) before (N, K, 1, 1), and both before maps.
        ([Tensor("a", (1, 5, 1, 1)), Tensor("b", (1, 5))], 0, "b"),
        ([Tensor("a", (1, 5, 8, 8)), Tensor("b", (1, 5, 1, 1))], 0, "b"),
        ([Tensor("a", (1, 5, 8)), Tensor("b", (1,))], 0, "b"),
        # The best class beside its scores.
        ([Tensor("a", (1, 5), is_integer=True), Tensor("b", (1, 5))], 5, "b"),
        ([Tensor("a", (1, 5, 8), is_integer=True), Tensor("b", (1, 5), is_integer=True)], 5, "b"),
        # Names: auxiliary ones are none, and probabilities come first.
        ([Tensor("aux_logits", (1, 5)), Tensor("b", (1, 5))], 5, "b"),
        ([Tensor("embedding", (1, 5)), Tensor("b", (1, 5))], 0, "b"),
        ([Tensor("features", (1, 5)), Tensor("b", (1, 5))], 0, "b"),
        ([Tensor("out.logits", (1, 5)), Tensor("probabilities", (1, 5))], 5, "probabilities"),
        ([Tensor("logits", (1, 5)), Tensor("scores", (1, 5))], 5, "scores"),
        ([Tensor("output", (1, 5)), Tensor("logits", (1, 5))], 5, "logits"),
        ([Tensor("x", (1, 5)), Tensor("Output_1", (1, 5))], 5, "Output_1"),
        ([Tensor("x", (1, 7)), Tensor("Output_1", (1, 5))], 5, "Output_1"),
        ([Tensor("x", (1, 7)), Tensor("logits", (1, 5))], 0, "logits"),
        ([Tensor("aux_1", (1, 5)), Tensor("Output_1", (1, 5))], 5, "Output_1"),
        ([Tensor("pred", (1, 5)), Tensor("softmax_2", (1, 5))], 5, "softmax_2"),
        # "auxiliary" inside of another word is none.
        ([Tensor("fauxlogits", (1, 5)), Tensor("scores", (1, 5))], 5, "scores"),
        ([Tensor("a", (1, 5, 8)), Tensor("b", (1, 6, 8))], 0, "a"),
    ],
)
def test_a_classifier_s_scores_come_first(outputs: list[Tensor], labels: int, first: str) -> None:
    ordered = names("classify", *outputs, labels=labels)

    assert ordered[0] == first
    assert sorted(ordered) == sorted(one.name for one in outputs)


@pytest.mark.parametrize("known", ["output", "logits", "pred"])
def test_a_second_head_without_a_name_is_asked_about(known: str) -> None:
    """PyTorch names what it is not told of with a number: the make of a car, and its color."""
    for unnamed in ("374", "onnx::Gemm_374"):
        outputs = [Tensor(known, (1, 5)), Tensor(unnamed, (1, 5))]
        for ordered in (outputs, outputs[::-1]):
            with pytest.raises(
                RecipeError, match=f"Each of the outputs .*374.*--outputs {ordered[0].name}"
            ):
                names("classify", *ordered, labels=5)
        assert names("classify", *outputs, labels=5, outputs=[unnamed, known])[0] == known


@pytest.mark.parametrize(
    "outputs",
    [
        [Tensor("a", (1, 5)), Tensor("b", (1, 5))],
        [Tensor("probs_1", (1, 5)), Tensor("probs_2", (1, 5)), Tensor("logits", (1, 5))],
        [Tensor("aux1", (1, 5)), Tensor("aux2", (1, 5))],
    ],
)
def test_outputs_that_could_all_be_scores_are_named(outputs: list[Tensor]) -> None:
    advice = {
        5: "",
        4: "; none has 4 values, one for each label",
        0: "; or give --labels, where their number shows it",
    }
    for labels, rest in advice.items():
        with pytest.raises(RecipeError) as error:
            names("classify", *outputs, labels=labels)

        assert str(error.value).endswith(f"take: --outputs {outputs[0].name}{rest}")
        assert all(f"{one.name} (1, 5)" in str(error.value) for one in outputs)


def test_stated_outputs_keep_their_order() -> None:
    assert names("classify", Tensor("map", (1, 5, 8, 8)), VECTOR, outputs=["map", "vector"]) == [
        "map",
        "vector",
    ]


def test_maps_of_numbers_come_before_maps_of_class_ids() -> None:
    ids = Tensor("ids", (1, 1, 8, 8), is_integer=True)
    maps = Tensor("maps", (1, 5, 8, 8))

    assert names("segment", VECTOR, ids, maps) == ["maps", "vector", "ids"]
    assert names("segment", VECTOR) == ["vector"]
    with pytest.raises(RecipeError, match=r"output ids holds whole numbers.*ArgMax"):
        names("segment", VECTOR, ids)


def test_the_best_class_and_its_score_are_not_the_scores_of_each_class() -> None:
    best = Tensor("conf", (1,)), Tensor("idx", (1,), is_integer=True)
    with pytest.raises(RecipeError, match=r"conf \(1,\), idx \(1,\) seem.*Max or TopK"):
        names("classify", *best, labels=5)
    assert names("classify", *best, labels=2) == ["conf", "idx"]
    assert names("classify", *best, VECTOR, labels=5) == ["vector", "conf", "idx"]


def test_an_embedder_s_output_is_known_by_its_name_or_asked_about() -> None:
    maps = Tensor("map", (1, 5, 8, 8))
    assert names("embed", VECTOR) == ["vector"]
    with pytest.raises(RecipeError, match=r"each could be the embedding.*--outputs map"):
        names("embed", maps, VECTOR)
    assert names("embed", maps, VECTOR, outputs=("map", "vector")) == ["map", "vector"]
    tokens, pooled = Tensor("last_hidden_state", (1, 5, 7)), Tensor("pooler_output", (1, 7))
    assert names("embed", tokens, pooled) == ["pooler_output", "last_hidden_state"]
    both = Tensor("logits_per_image", (1, 3)), Tensor("image_embeds", (1, 7))
    assert names("embed", *both) == ["image_embeds", "logits_per_image"]


def test_scores_under_a_number_that_are_the_named_ones_in_other_words_are_no_second_head() -> None:
    """Logits without a name beside their softmax."""
    logits = Tensor("13", (1, 5), origin="13")
    named = Tensor("probabilities", (1, 5), origin="13")
    assert names("classify", logits, named) == ["probabilities", "13"]
    with pytest.raises(RecipeError, match="could be the scores of the classes"):
        names("classify", logits, Tensor("probabilities", (1, 5), origin="9"))


def test_maps_of_several_heads_are_asked_about() -> None:
    head, other = Tensor("23", (1, 5, 8, 8)), Tensor("24", (1, 5, 8, 8))
    with pytest.raises(RecipeError, match=r"several maps.*--outputs 23"):
        names("segment", head, other)
    assert names("segment", head, other, outputs=("24", "23")) == ["23", "24"]
    assert names("segment", Tensor("aux", (1, 5, 8, 8)), other) == ["24", "aux"]
    wide = Tensor("25", (1, 7, 8, 8))
    assert names("segment", head, wide, labels=7) == ["25", "23"]


FIFTY = Tensor("boxes", (1, 50, 4))


@pytest.mark.parametrize(
    "outputs",
    [
        [FIFTY, Tensor("objectness", (1, 50)), Tensor("class_probs", (1, 50, 5))],
        [Tensor("scores", (1, 5, 50)), FIFTY, Tensor("centerness", (1, 50, 1))],
        [Tensor("output0", (1, 50, 4)), Tensor("output1", (1, 50)), Tensor("output2", (1, 50, 5))],
        [FIFTY, Tensor("conf", (1, 50, 1)), Tensor("probs", (1, 50, 5))],
        [FIFTY, Tensor("output1", (1, 50, 1)), Tensor("output2", (1, 50, 5))],
        [Tensor("output0", (1, 50, 9)), Tensor("output1", (1, 50, 1))],
        [Tensor("output0", (1, 9, 50)), Tensor("output1", (1, 1, 50))],
    ],
    ids=["named", "scores in columns", "unnamed", "first", "first, unnamed", "rows", "columns"],
)
def test_an_objectness_of_its_own_is_asked_about(outputs: list[Tensor]) -> None:
    with pytest.raises(RecipeError, match=r"has one value for each box, beside .*--outputs"):
        names("detect", *outputs, labels=5)


@pytest.mark.parametrize(
    ("outputs", "order"),
    [
        ([FIFTY, Tensor("objectness", (1, 50)), Tensor("class_probs", (1, 50, 5))], (0, 2, 1)),
        ([Tensor("scores", (1, 5, 50)), FIFTY, Tensor("centerness", (1, 50, 1))], (1, 0, 2)),
        ([FIFTY, Tensor("conf", (1, 50, 1)), Tensor("probs", (1, 50, 5))], (0, 2, 1)),
        ([FIFTY, Tensor("output1", (1, 50, 1)), Tensor("output2", (1, 50, 5))], (0, 2, 1)),
        ([FIFTY, Tensor("obj", (1, 50, 1)), Tensor("face", (1, 50, 1))], (0, 2, 1)),
        ([FIFTY, Tensor("face", (1, 50, 1)), Tensor("iou", (1, 50, 1))], (0, 1, 2)),
        (
            [FIFTY, Tensor("ids", (1, 50)), Tensor("obj", (1, 50)), Tensor("s", (1, 50, 5))],
            (0, 3, 2),
        ),
    ],
)
def test_an_objectness_that_is_stated_is_found_in_any_order(
    outputs: list[Tensor], order: tuple[int, ...]
) -> None:
    found = names("detect", *outputs, detect={"decoder": "pair_objectness"})
    assert found[:3] == [outputs[place].name for place in order]


@pytest.mark.parametrize(
    "other",
    [
        Tensor("labels", (1, 50)),
        Tensor("output1", (1, 50), is_integer=True),
        Tensor("num_detections", (1, 50)),
        Tensor("max_scores", (1, 50)),
        Tensor("features", (1, 50, 32)),
        Tensor("areas", (1, 49)),
    ],
    ids=lambda one: one.name,
)
def test_other_outputs_beside_scores_of_the_classes_are_left_out(other: Tensor) -> None:
    scores = Tensor("scores", (1, 50, 5))
    assert names("detect", FIFTY, scores, other, labels=5) == ["boxes", "scores"]


def test_what_is_to_be_read_can_be_named_without_the_objectness() -> None:
    scores = Tensor("class_probs", (1, 50, 5))
    stated = ["boxes", "class_probs"]
    assert names("detect", FIFTY, scores, labels=5, outputs=stated) == stated
    every = [FIFTY, Tensor("objectness", (1, 50)), scores]
    with pytest.raises(RecipeError, match=r"--outputs boxes,class_probs$"):
        names("detect", *every, labels=5, outputs=[one.name for one in every])
