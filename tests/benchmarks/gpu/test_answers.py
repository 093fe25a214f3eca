"""How two answers to the same bytes are compared."""

from typing import Any

import numpy as np
import pytest
from pycocotools import mask as coco

from benchmarks.gpu.answers import (
    differing_boxes,
    differing_classes,
    differing_embeddings,
    differing_masks,
    differing_values,
    film,
)


def one(**result: Any) -> dict[str, Any]:
    return {"results": [result]}


def classes(**probabilities: float) -> dict[str, Any]:
    predictions = [{"label": name, "probability": value} for name, value in probabilities.items()]
    return one(predictions=predictions)


def test_near_ties_may_change_places_and_nothing_else() -> None:
    truth = classes(cat=0.50, dog=0.49)

    assert not differing_classes(classes(dog=0.495, cat=0.492), truth)
    assert "the top class is dog, on the CPU cat" in differing_classes(
        classes(dog=0.6, cat=0.4), truth
    )
    assert "a probability differs by 0.05" in differing_classes(classes(cat=0.55, dog=0.45), truth)


def boxes(*found: tuple[str, float, float]) -> dict[str, Any]:
    """Return detections (label, score, left edge) of 100 × 100 pixels."""
    corners = ("x_min", "y_min", "x_max", "y_max")
    return one(
        detections=[
            {
                "label": label,
                "score": score,
                "box": dict(zip(corners, (left, 0.0, left + 100, 100.0), strict=True)),
            }
            for label, score, left in found
        ]
    )


@pytest.mark.parametrize(
    ("found", "text"),
    [
        ([("cat", 0.91, 2.0)], ""),
        ([("cat", 0.9, 0.0), ("dog", 0.3, 0.0)], ""),
        ([], "only the CPU finds cat (0.900)"),
        ([("cat", 0.9, 0.0), ("dog", 0.7, 0.0)], "only the GPU finds dog (0.700)"),
        ([("cat", 0.9, 30.0)], "finds cat"),
        ([("cat", 0.8, 0.0)], "finds cat"),
    ],
)
def test_each_sure_detection_must_be_found_on_both(
    found: list[tuple[str, float, float]], text: str
) -> None:
    said = differing_boxes(boxes(*found), boxes(("cat", 0.9, 0.0)))

    assert (text in said) if text else not said


def masks(**rows: int) -> dict[str, Any]:
    """Return masks of 100 × 100 pixels whose first rows are set."""
    segments = []
    for label, count in rows.items():
        mask = np.zeros((100, 100), np.uint8, order="F")
        mask[:count] = 1
        rle = coco.encode(mask)
        segments.append({"label": label, "fraction": count / 100, "rle": rle})
    return one(segments=segments)


def test_masks_are_compared_by_their_common_part() -> None:
    assert not differing_masks(masks(cat=99), masks(cat=100))
    assert "an IoU of 0.900" in differing_masks(masks(cat=90), masks(cat=100))
    assert "only one of them has dog" in differing_masks(masks(cat=100, dog=5), masks(cat=100))


def test_embeddings_are_compared_by_direction() -> None:
    assert not differing_embeddings(one(embedding=[1.0, 2.0]), one(embedding=[2.0, 4.0]))
    assert "cosine" in differing_embeddings(one(embedding=[1.0, 2.0]), one(embedding=[2.0, 1.0]))


@pytest.mark.parametrize(
    ("found", "text"),
    [
        ({"label": "cat", "values": [1.0, 100.5], "infer_ms": 9}, ""),
        ({"label": "dog", "values": [1.0, 100.0], "infer_ms": 1}, ".label is dog, on the CPU cat"),
        ({"label": "cat", "values": [1.1, 100.0], "infer_ms": 1}, ".values[0] is 1.1"),
        ({"label": "cat", "values": [1.0], "infer_ms": 1}, ".values is [1.0]"),
    ],
)
def test_other_answers_have_the_same_words_and_near_numbers(
    found: dict[str, Any], text: str
) -> None:
    said = differing_values(found, {"label": "cat", "values": [1.0, 100.0], "infer_ms": 1})

    assert (text in said) if text else not said


def test_the_film_is_an_animation() -> None:
    assert film().startswith(b"GIF89a")
