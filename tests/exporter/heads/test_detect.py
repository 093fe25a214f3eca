"""The best candidates of a detector."""

from typing import Any

import numpy as np
import pytest
import torch
from torchvision import ops

from exporter.heads.boxes import DECODERS, FARTHEST
from exporter.heads.detect import DetectHead
from exporter.network import Array
from exporter.recipe_tables import DetectRecipe
from tests.exporter.graphs import normal
from tests.exporter.heads.crowds import ANCHORS as ANCHORS_OF_CROWD
from tests.exporter.heads.crowds import crowd
from tests.exporter.heads.grafting import FRAME, grafted

ANCHORS = 20


def raw_of(decoder: str) -> list[Array]:
    """Return raw outputs of two images, with boxes in 0–1 and three columns of scores."""
    boxes = np.abs(np.sin(normal(2, ANCHORS, 4)))
    scores = np.abs(np.sin(np.linspace(1, 300, 2 * ANCHORS * 3))).reshape(2, ANCHORS, 3)
    objectness = np.abs(np.cos(normal(2, ANCHORS, 1)))
    if decoder == "pair":
        return [boxes, scores]
    if decoder == "pair_objectness":
        return [boxes, scores, objectness[..., 0]]
    if decoder == "yolov5":
        return [np.concatenate([boxes, objectness, scores], axis=2)]
    if decoder == "yolov8":
        return [np.concatenate([boxes, scores], axis=2).transpose(0, 2, 1)]
    classes = np.arange(2 * ANCHORS).reshape(2, ANCHORS, 1) % 3
    return [np.concatenate([boxes, scores[..., :1], classes], axis=2)]


@pytest.mark.parametrize(
    ("decoder", "recipe"),
    [
        ("pair", {}),
        ("pair", {"class_offset": 1, "box_format": "yxyx", "candidates": 5}),
        ("pair", {"background": "first", "score_activation": "softmax"}),
        ("pair", {"background": "last"}),
        ("pair_objectness", {"score_activation": "sigmoid"}),
        ("pair_objectness", {"background": "first"}),
        ("yolov5", {"box_format": "cxcywh", "one_class_a_box": True}),
        ("yolov8", {"box_format": "xywh", "one_class_a_box": True}),
        ("end2end", {}),
    ],
)
def test_the_nodes_compute_what_is_expected(decoder: str, recipe: dict[str, Any]) -> None:
    head = DetectHead(
        DECODERS[decoder],
        DetectRecipe.model_validate(recipe),
        ANCHORS,
        0 if decoder == "end2end" else 3,
    )
    raw = raw_of(decoder)

    found, expected = grafted(head, raw), head.expected(raw, FRAME)

    assert found["boxes"].shape == (2, head.candidates, 4)
    assert found["classes"].dtype == np.int32
    assert head.difference(found, expected) < 1e-6


def test_a_cut_among_equal_scores_is_no_difference() -> None:
    """40 boxes have one plausible class each, and 360 pairs share the score 0.01; 48 candidates are kept."""
    rng = np.random.default_rng(3)
    corner = rng.uniform(0, 0.5, (1, 40, 2))
    boxes = np.concatenate([corner, corner + 0.3], axis=2).astype(np.float32)
    scores = np.full((1, 40, 10), 0.01, np.float32)
    scores[0, :, 3] = rng.permutation(np.linspace(0.3, 0.9, 40))
    head = DetectHead(DECODERS["pair"], DetectRecipe(candidates=48), 40, 10)
    found = grafted(head, [boxes, scores])
    order = np.argsort(-scores[0, :, 3])
    np.testing.assert_allclose(found["boxes"][0, :40], boxes[0, order], atol=1e-6)
    assert head.difference(found, head.expected([boxes, scores], FRAME)) < 1e-6
    found["boxes"][0, 45] += 0.2
    assert head.difference(found, head.expected([boxes, scores], FRAME)) > 0.05


@pytest.mark.parametrize("decoder", ["pair", "triple"])
@pytest.mark.parametrize("score", [4e-6, 0.2])
def test_which_of_two_equal_classes_is_the_best_is_no_difference(
    decoder: str, score: float
) -> None:
    """Rounding decides, and the graph and the source round differently; a class that is behind is one."""
    boxes = np.abs(np.sin(normal(1, ANCHORS, 4)))
    scores = np.full((1, ANCHORS, 3), score, np.float32)
    scores[..., 0] = 0
    scores[:, -1] = 0
    one, other = scores.copy(), scores.copy()
    one[..., 1] += np.float32(1e-8)
    other[..., 2] += np.float32(1e-8)
    head = DetectHead(DECODERS[decoder], DetectRecipe(one_class_a_box=True), ANCHORS, 3)
    raw, source = [boxes, one], [boxes, other]
    if decoder == "triple":
        head = DetectHead(DECODERS[decoder], DetectRecipe(), ANCHORS, 0, 3)
        raw, source = ([boxes, of.max(axis=2), of.argmax(axis=2)] for of in (one, other))

    found, expected = grafted(head, raw), head.expected(source, FRAME)
    assert (found["classes"] != expected["classes"]).all() or score > 0.1
    known = decoder == "pair"
    assert head.difference(found, expected) <= (1e-6 if known else score * 1.01)
    found["classes"][0, 3] = 0
    assert head.difference(found, expected) == pytest.approx(score, rel=0.01)


@pytest.mark.parametrize("noise", [1e-6, 1e-3, 0.3])
def test_the_difference_is_that_of_the_candidate_farthest_from_all_expected(noise: float) -> None:
    """The 200 found ones of 600 are at other places than the expected, as in a crowd; the first way is the formula."""
    rng = np.random.default_rng(4)
    scores = -np.sort(-rng.uniform(0.1, 1, (1, 600)))
    boxes, classes = rng.random((1, 600, 4)), rng.integers(0, 3, (1, 600))
    kept = np.sort(rng.permutation(600)[:200])
    moved = boxes[:, kept] + rng.normal(0, noise, (1, 200, 4))
    apart = np.abs(moved[0, :, None] - boxes[0, None]).max(axis=2)
    apart = np.maximum(apart, np.abs(scores[0, kept, None] - scores[0, None]))
    apart[classes[0, kept, None] != classes[0, None]] = np.inf

    found = {"boxes": moved, "scores": scores[:, kept], "classes": classes[:, kept]}
    head = DetectHead(DECODERS["pair"], DetectRecipe(candidates=200), 600, 3)

    difference = head.difference(found, {"boxes": boxes, "scores": scores, "classes": classes})
    assert difference == apart.min(axis=1).max()


@pytest.mark.parametrize("score", [1e-6, 0.2])
def test_which_rows_are_the_last_before_the_networks_own_cut_is_no_difference_near_zero(
    score: float,
) -> None:
    """A trained YOLO26 gives 300 rows, and has more of about the same score near zero: rounding chooses the last."""
    boxes = np.abs(np.sin(normal(1, ANCHORS, 4)))
    scores = np.full((1, ANCHORS), score, np.float32)
    scores[0, :3] = [0.9, 0.7, 0.5]
    head = DetectHead(DECODERS["triple"], DetectRecipe(), ANCHORS, 0, 3)
    raw = [boxes, scores, np.zeros((1, ANCHORS), np.int64)]
    others = boxes.copy()
    others[0, -2:] = 0.01
    expected = head.expected(raw, FRAME)

    difference = head.difference(grafted(head, [others, *raw[1:]]), expected)
    assert (difference < 1e-6) == (score < 0.01)
    others[0, 2] = 0.01
    assert head.difference(grafted(head, [others, *raw[1:]]), expected) > 0.05


def test_the_background_needs_a_label_and_is_no_candidate() -> None:
    head = DetectHead(DECODERS["pair"], DetectRecipe(background="first"), ANCHORS, 3)
    assert head.classes == 3
    assert set(np.unique(grafted(head, raw_of("pair"))["classes"])) <= {1, 2}


def test_a_moved_box_is_a_difference_and_lowers_the_agreement() -> None:
    head = DetectHead(DECODERS["pair"], DetectRecipe(), 1, 1)
    expected = {
        "boxes": np.array([[[0.0, 0.0, 0.5, 0.5]]]),
        "scores": np.array([[0.9]]),
        "classes": np.array([[0]]),
    }
    found = {**expected, "boxes": expected["boxes"] + 0.4}
    assert head.difference(found, expected) == pytest.approx(0.4)
    assert head.agreement(found, expected, 1.0) == [0]


def test_two_images_without_detections_agree() -> None:
    head = DetectHead(DECODERS["pair"], DetectRecipe(), 1, 1)
    nothing = {
        "boxes": np.zeros((1, 1, 4)),
        "scores": np.zeros((1, 1)),
        "classes": np.zeros((1, 1)),
    }
    assert head.agreement(nothing, nothing, 1.0) == [1]


@pytest.mark.parametrize("boxes_each", [10, 20, 30])
@pytest.mark.parametrize(("objects", "classes"), [(100, 1), (100, 3)])
@pytest.mark.parametrize("decoder", ["pair", "yolov8"])
def test_every_object_of_a_crowd_is_among_the_candidates(
    decoder: str, objects: int, classes: int, boxes_each: int
) -> None:
    boxes, scores = crowd(objects, boxes_each, classes)
    raw = [boxes, scores]
    if decoder == "yolov8":
        raw = [np.concatenate([boxes, scores], axis=2).transpose(0, 2, 1)]
    recipe = DetectRecipe(one_class_a_box=decoder == "yolov8")
    head = DetectHead(DECODERS[decoder], recipe, boxes.shape[1], classes)

    found = grafted(head, raw)

    # The truth: torchvision's suppression of all boxes, none of them discarded before.
    every = torch.from_numpy(boxes[0].clip(0, 1)), torch.from_numpy(scores[0].max(axis=1))
    kind = torch.from_numpy(scores[0].argmax(axis=1))
    true = [int(i) for i in ops.batched_nms(*every, kind, 0.5) if every[1][i] >= 0.3]
    assert len(true) == objects
    mine = torch.from_numpy(found["boxes"][0]), torch.from_numpy(found["scores"][0])
    kept = ops.batched_nms(*mine, torch.from_numpy(found["classes"][0]).long(), 0.5)
    kept = kept[mine[1][kept] >= 0.3]
    recalled = (ops.box_iou(every[0][true], mine[0][kept]).max(dim=1).values > 0.99).sum()
    assert recalled / objects >= 0.99
    assert head.agreement(found, head.expected(raw, FRAME), 0.01) == [1]


@pytest.mark.parametrize("objects", [100, 250])
@pytest.mark.parametrize("iou", [0.5, 0.7])
def test_every_class_of_every_object_is_found_where_the_boxes_have_several(
    objects: int, iou: float
) -> None:
    boxes, scores = of_three_classes(objects, 30)
    head = DetectHead(DECODERS["pair"], DetectRecipe(), boxes.shape[1], 3)
    found = grafted(head, [boxes, scores])

    # The truth: torchvision's suppression of all pairs, none of them discarded before.
    anchors, kinds = np.nonzero(scores[0] >= 0.05)
    true = suppressed(boxes[0][anchors].clip(0, 1), scores[0][anchors, kinds], kinds, iou)
    mine = suppressed(found["boxes"][0], found["scores"][0], found["classes"][0], iou)
    assert len(true) >= 2 * objects
    if iou == 0.5:
        assert mine == true
    assert len(mine & true) / len(true) >= 0.99
    assert head.difference(found, head.expected([boxes, scores], FRAME)) < 1e-6
    assert head.agreement(found, head.expected([boxes, scores], FRAME), 0.01) == [1]


def of_three_classes(objects: int, boxes_each: int) -> list[Array]:
    """Return a crowd of which each box may be of three classes, as a car is a vehicle and perhaps a van."""
    boxes, scores = crowd(objects, boxes_each)
    return [boxes, np.concatenate([scores, 0.9 * scores, 0.8 * scores], axis=2).astype(np.float32)]


def suppressed(boxes: Array, scores: Array, kinds: Array, iou: float) -> set[tuple[Any, ...]]:
    """Return score and class of each box that torchvision keeps, with its corners, from a score of 0.3 on."""
    tensors = [torch.from_numpy(np.array(part)) for part in (boxes, scores, kinds)]
    kept = ops.batched_nms(tensors[0], tensors[1], tensors[2].long(), iou).numpy()
    return {
        (float(scores[one]), int(kinds[one]), *boxes[one].tolist())
        for one in kept
        if scores[one] >= 0.3
    }


def test_an_image_beside_a_crowd_has_the_candidates_that_it_has_alone() -> None:
    """Few clear ones: the best of all, in order, as NumPy sorts them."""
    crowded = of_three_classes(100, 30)
    random = np.random.default_rng(4)
    corners = np.sort(random.random((1, crowded[0].shape[1], 2, 2)), axis=2)
    quiet = [
        corners.reshape(1, -1, 4).astype(np.float32),
        np.round(random.random(crowded[1].shape) ** 2000, 3).astype(np.float32),
    ]
    head = DetectHead(DECODERS["pair"], DetectRecipe(), crowded[0].shape[1], 3)

    both = grafted(head, [np.concatenate(pair) for pair in zip(crowded, quiet, strict=True)])

    expected = head.expected(quiet, FRAME)
    alone = grafted(head, quiet), grafted(head, crowded)
    assert (expected["scores"] >= 0.05).sum() in range(20, head.candidates)
    for name, values in both.items():
        np.testing.assert_array_equal(values[1:], alone[0][name])
        np.testing.assert_array_equal(values[:1], alone[1][name])
    plain = DetectHead(DECODERS["pair"], DetectRecipe(best_only=True), crowded[0].shape[1], 3)
    for name, values in grafted(plain, quiet).items():
        np.testing.assert_array_equal(both[name][1:], values)


def test_classes_that_the_network_names_are_suppressed_apart() -> None:
    boxes, scores = crowd(100, 30)
    kinds = np.arange(boxes.shape[1], dtype=np.float32)[None, :, None] % 2
    raw = [np.concatenate([boxes, scores, kinds], axis=2)]
    head = DetectHead(DECODERS["end2end"], DetectRecipe(), boxes.shape[1], 0)

    found = grafted(head, raw)

    true = suppressed(boxes[0].clip(0, 1), scores[0, :, 0], kinds[0, :, 0], 0.5)
    assert len(true) > 150
    assert suppressed(found["boxes"][0], found["scores"][0], found["classes"][0], 0.5) == true


def test_an_exact_graph_agrees_where_more_boxes_are_found_than_candidates_are_kept() -> None:
    boxes, scores = crowd(100, 20)
    head = DetectHead(DECODERS["pair"], DetectRecipe(candidates=300), boxes.shape[1], 1)

    found, expected = grafted(head, [boxes, scores]), head.expected([boxes, scores], FRAME)

    assert found["scores"].shape == (1, 300)
    assert head.agreement(found, expected, 0.01) == [1]
    assert head.difference(found, expected) < 1e-6


def test_all_pairs_of_few_boxes_are_candidates() -> None:
    head = DetectHead(DECODERS["pair"], DetectRecipe(), ANCHORS, 3)
    assert grafted(head, raw_of("pair"))["scores"].shape == (2, ANCHORS * 3)


@pytest.mark.parametrize("name", ["boxes", "scores", "classes"])
def test_one_wrong_candidate_among_thousands_is_a_difference(name: str) -> None:
    boxes, scores = crowd(100, 10)
    head = DetectHead(DECODERS["pair"], DetectRecipe(), boxes.shape[1], 1)
    expected = head.expected([boxes, scores], FRAME)
    found = {part: values[:, : head.candidates].copy() for part, values in expected.items()}
    assert head.difference(found, expected) == 0

    found[name][0, 700] += 1

    assert head.difference(found, expected) > 0.04


def test_candidates_of_almost_the_same_score_may_change_places() -> None:
    head = DetectHead(DECODERS["pair"], DetectRecipe(), 3, 1)
    expected = {
        "boxes": np.array([[[0.0, 0.0, 0.5, 0.5], [0.5, 0.5, 1.0, 1.0], [0.1, 0.1, 0.3, 0.3]]]),
        "scores": np.array([[0.9, 0.7, 0.7]]),
        "classes": np.array([[0, 0, 0]]),
    }
    found = {name: values[:, [0, 2, 1]] for name, values in expected.items()}
    assert head.difference(found, expected) == 0


EDGES = np.array([[[-0.8, 0.2, 0.4, 0.6], [-0.05, 0.2, 0.4, 0.6]]], np.float32)
"""Boxes of two objects that are the same inside of the frame; their IoU is 0.38."""


def test_a_graph_whose_boxes_are_cut_before_suppression_does_not_agree() -> None:
    head = DetectHead(DECODERS["pair"], DetectRecipe(), 2, 1)
    raw = [EDGES, np.array([[[0.9], [0.8]]], np.float32)]
    found, expected = grafted(head, raw), head.expected(raw, FRAME)
    np.testing.assert_array_equal(found["boxes"], EDGES)
    assert head.difference(found, expected) < 1e-6
    assert head.agreement(found, expected, 0.01) == [1]

    cut = {**found, "boxes": found["boxes"].clip(0, 1)}

    assert head.difference(cut, expected) > 0.05
    assert head.agreement(cut, expected, 0.01)[0] < 1


@pytest.mark.parametrize("nms_free", [False, True])
def test_what_lies_beside_the_image_agrees_whatever_it_is(*, nms_free: bool) -> None:
    """No caller reads it."""
    head = DetectHead(DECODERS["pair"], DetectRecipe(nms_free=nms_free), 2, 1)
    inside = np.array([[[0.1, 0.1, 0.4, 0.4], [1.1, 0.1, 1.3, 0.4]]])
    expected = {
        "boxes": inside,
        "scores": np.array([[0.9, 0.8]]),
        "classes": np.array([[0, 0]]),
    }
    found = {**expected, "boxes": inside + np.array([[0, 0, 0, 0], [2, 0, 2, 0]])}
    assert head.agreement(found, expected, 0.01) == [1]
    alone = {name: values[:, 1:] for name, values in expected.items()}
    nothing = {**alone, "scores": np.zeros((1, 1))}
    assert head.agreement(alone, nothing, 0.01) == [1]


def test_infinite_sides_become_finite_in_the_graph_and_where_it_is_expected() -> None:
    far = np.array([[[-np.inf, 0.2, np.inf, 0.6], [0.1, -1e30, 0.3, 1e30]]], np.float32)
    head = DetectHead(DECODERS["pair"], DetectRecipe(), 2, 1)
    raw = [far, np.array([[[0.9], [0.8]]], np.float32)]

    found, expected = grafted(head, raw), head.expected(raw, FRAME)

    assert np.isfinite(found["boxes"]).all()
    assert (found["boxes"][0, 0, [0, 2]] == [-FARTHEST, FARTHEST]).all()
    np.testing.assert_allclose(found["boxes"], expected["boxes"], rtol=1e-6)
    assert head.difference(found, expected) < 1e-6
    assert head.agreement(found, expected, 0.01) == [1]


def test_sides_far_from_the_frame_differ_by_their_share_and_the_others_do_not() -> None:
    head = DetectHead(DECODERS["pair"], DetectRecipe(), 1, 1)
    expected = {
        "boxes": np.array([[[0.25, -2000.0, 0.75, 500.0]]]),
        "scores": np.array([[0.9]]),
        "classes": np.array([[0]]),
    }
    rounded = expected["boxes"] + [[[0, 0.1, 0, 0.02]]]
    assert head.difference({**expected, "boxes": rounded}, expected) == pytest.approx(5e-5)
    moved = expected["boxes"] + [[[0.1, 0, 0, 0]]]
    assert head.difference({**expected, "boxes": moved}, expected) == pytest.approx(0.1)


@pytest.mark.parametrize("classes", [1, 3, 80])
@pytest.mark.parametrize("decoder", ["pair", "end2end"])
def test_a_crowd_that_reaches_beyond_the_frame_is_suppressed_as_its_boxes_are(
    decoder: str, classes: int
) -> None:
    """Three frames wide, with boxes that are infinite or far too large."""
    boxes, scores = crowd(144, 30, classes)
    boxes = 3 * boxes - 1
    kinds = scores.argmax(axis=2)
    scores[0, :3, 0] = 0.99
    wild = [[-np.inf, 0.0, np.inf, 1.0], [-1e30, -1e30, 1e30, 1e30], [40.0, 40.0, 50.0, 50.0]]
    boxes[0, :3] = np.array(wild, np.float32)
    boxes[0, 3] = np.nan
    scores[0, 3] = 0.2
    raw = [boxes, scores]
    if decoder == "end2end":
        columns = scores.max(axis=2)[..., None], kinds[..., None].astype(np.float32)
        raw = [np.concatenate([boxes, *columns], axis=2)]
    head = DetectHead(DECODERS[decoder], DetectRecipe(), ANCHORS_OF_CROWD, classes * len(raw[1:]))

    found = grafted(head, raw)

    clear = np.flatnonzero((scores[0].max(axis=1) >= 0.3) & np.isfinite(boxes[0]).all(axis=1))
    clear = clear[clear > 3]
    true = suppressed(boxes[0][clear], scores[0][clear].max(axis=1), kinds[0][clear], 0.5)
    near = np.abs(found["boxes"][0]).max(axis=1) < 10
    listed, best, classes_of = (found[name][0][near] for name in ("boxes", "scores", "classes"))
    mine = suppressed(listed, best, classes_of, 0.5)
    assert len(true) == 144
    assert mine == true
