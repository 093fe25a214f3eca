import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray
from torchvision import ops

from service.heads.nms import suppress

Candidates = tuple[NDArray[np.float32], NDArray[np.float32], NDArray[np.int32]]


@st.composite
def candidates(draw: st.DrawFn) -> Candidates:
    """Boxes on a coarse grid, so that they often touch, coincide or are empty; scores are all different."""
    count = draw(st.integers(0, 12))
    corners = st.tuples(*[st.integers(0, 6)] * 4)
    drawn = [draw(corners) for _ in range(count)]
    boxes = [(min(a, c), min(b, d), max(a, c), max(b, d)) for a, b, c, d in drawn]
    ranks = draw(st.permutations(range(count)))
    classes = draw(st.lists(st.integers(0, 2), min_size=count, max_size=count))
    return (
        np.array(boxes, np.float32).reshape(-1, 4),
        np.array([(rank + 1) / (count + 1) for rank in ranks], np.float32),
        np.array(classes, np.int32),
    )


def brute_iou(a: NDArray[np.float32], b: NDArray[np.float32]) -> float:
    width = min(a[2], b[2]) - max(a[0], b[0])
    height = min(a[3], b[3]) - max(a[1], b[1])
    shared = max(0.0, float(width)) * max(0.0, float(height))
    union = float((a[2] - a[0]) * (a[3] - a[1]) + (b[2] - b[0]) * (b[3] - b[1])) - shared
    return shared / union if union > 0 else 0.0


@settings(deadline=None, max_examples=200)
@given(
    candidates(), st.sampled_from([0.0, 0.3, 0.5, 0.9]), st.sampled_from(["per_class", "agnostic"])
)
def test_it_keeps_what_the_definition_keeps(
    given_: Candidates, threshold: float, mode: str
) -> None:
    boxes, scores, classes = given_
    expected: list[int] = []
    for one in sorted(range(len(boxes)), key=lambda index: -scores[index]):
        rivals = [
            other for other in expected if mode == "agnostic" or classes[other] == classes[one]
        ]
        if all(brute_iou(boxes[one], boxes[other]) <= threshold for other in rivals):
            expected.append(one)
    kept, kept_scores = suppress(boxes, scores, classes, iou_threshold=threshold, mode=mode)  # type: ignore[arg-type]
    assert kept.tolist() == expected
    assert np.array_equal(kept_scores, scores[expected])


@pytest.mark.parametrize("seed", range(5))
def test_it_keeps_what_torchvision_keeps(seed: int) -> None:
    random = np.random.default_rng(seed)
    corner = random.random((300, 2))
    boxes = np.concatenate([corner, corner + random.random((300, 2)) / 3], axis=1).astype(
        np.float32
    )
    scores = random.random(300).astype(np.float32)
    classes = random.integers(0, 5, 300).astype(np.int32)
    tensors = torch.from_numpy(boxes), torch.from_numpy(scores)
    for threshold in (0.3, 0.5, 0.7):
        kept, _ = suppress(boxes, scores, classes, iou_threshold=threshold, mode="agnostic")
        assert kept.tolist() == ops.nms(*tensors, threshold).tolist()
        kept, _ = suppress(boxes, scores, classes, iou_threshold=threshold, mode="per_class")
        batched = ops.batched_nms(*tensors, torch.from_numpy(classes), threshold)
        assert kept.tolist() == batched.tolist()


def test_without_suppression_all_stay_best_first() -> None:
    boxes = np.zeros((3, 4), np.float32)
    scores = np.array([0.2, 0.9, 0.5], np.float32)
    kept, _ = suppress(boxes, scores, np.zeros(3, np.int32), iou_threshold=0.5, mode="none")
    assert kept.tolist() == [1, 2, 0]


def test_soft_suppression_lowers_a_neighbor_and_drops_no_box() -> None:
    boxes = np.array([[0, 0, 2, 2], [0, 0, 2, 1], [5, 5, 6, 6]], np.float32)
    scores = np.array([0.9, 0.8, 0.7], np.float32)
    kept, lowered = suppress(boxes, scores, np.zeros(3, np.int32), iou_threshold=0.5, mode="soft")
    assert kept.tolist() == [0, 2, 1]
    assert lowered == pytest.approx([0.9, 0.7, 0.8 * np.exp(-(0.5**2) / 0.5)])


def test_soft_suppression_leaves_other_classes_alone() -> None:
    boxes = np.array([[0, 0, 2, 2], [0, 0, 2, 2]], np.float32)
    scores = np.array([0.9, 0.8], np.float32)
    _, lowered = suppress(boxes, scores, np.array([1, 2], np.int32), iou_threshold=0.5, mode="soft")
    assert lowered == pytest.approx([0.9, 0.8])


def test_soft_suppression_takes_every_box_once() -> None:
    boxes = np.array([[0, 0, 2, 2], [5, 5, 6, 6], [0, 0, 2, 1]], np.float32)
    scores = np.array([0.9, 0.05, 0.04], np.float32)
    kept, _ = suppress(boxes, scores, np.zeros(3, np.int32), iou_threshold=0.5, mode="soft")
    assert kept.tolist() == [0, 1, 2]


def test_soft_suppression_ends_below_the_least_score() -> None:
    boxes = np.array([[0, 0, 1, 1], [0, 0, 1, 1], [5, 5, 6, 6]], np.float32)
    scores = np.array([0.9, 0.8, 0.5], np.float32)
    kept, lowered = suppress(
        boxes, scores, np.zeros(3, np.int32), iou_threshold=0.5, mode="soft", least_score=0.3
    )
    # The second box lies exactly on the first: 0.8 · exp(-1 / 0.5) = 0.108.
    assert kept.tolist() == [0, 2]
    assert lowered.tolist() == pytest.approx([0.9, 0.5])


def test_thousands_of_boxes_are_kept_as_torchvision_keeps_them() -> None:
    random = np.random.default_rng(9)
    middle = np.repeat(random.random((130, 2)), 16, axis=0) + random.normal(0, 0.01, (2080, 2))
    boxes = np.concatenate([middle - 0.04, middle + 0.04], axis=1).astype(np.float32)
    scores = random.random(2080).astype(np.float32)
    classes = random.integers(0, 3, 2080).astype(np.int32)
    tensors = torch.from_numpy(boxes), torch.from_numpy(scores), torch.from_numpy(classes)

    kept, _ = suppress(boxes, scores, classes, iou_threshold=0.5, mode="per_class")

    assert kept.tolist() == ops.batched_nms(*tensors, 0.5).tolist()
