"""Mean average precision is that of pycocotools, the field's reference implementation."""

import contextlib
import io
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray
from pycocotools.coco import COCO
from pycocotools.cocoeval import COCOeval

from service.labeled.average_precision import Boxes, box_scores

Floats = NDArray[np.float64]


def boxes(
    xyxy: list[list[float]] | Floats,
    classes: list[int] | NDArray[np.int64],
    scores: list[float] | Floats | None = None,
    crowds: list[bool] | NDArray[np.bool_] | None = None,
) -> Boxes:
    count = len(classes)
    return Boxes(
        np.array(xyxy, np.float64).reshape(-1, 4),
        np.array(classes, np.int64),
        np.ones(count) if scores is None else np.array(scores, np.float64),
        np.zeros(count, bool) if crowds is None else np.array(crowds, bool),
    )


def by_pycocotools(found: list[Boxes], truth: list[Boxes]) -> tuple[float, float]:
    """Return COCO's AP and AP50."""

    def listed(every: list[Boxes], *, true: bool) -> list[dict[str, Any]]:
        rows: list[dict[str, Any]] = []
        for image, one in enumerate(every):
            for index, (x, y, x2, y2) in enumerate(one.xyxy.tolist()):
                row = {
                    "id": len(rows) + 1,
                    "image_id": image,
                    "category_id": int(one.classes[index]) + 1,
                    "bbox": [x, y, x2 - x, y2 - y],
                    "area": (x2 - x) * (y2 - y),
                    "iscrowd": int(one.crowds[index]) if true else 0,
                }
                rows.append(row if true else {**row, "score": float(one.scores[index])})
        return rows

    with contextlib.redirect_stdout(io.StringIO()):
        coco = COCO()
        coco.dataset = {
            "info": {},
            "images": [{"id": image} for image in range(len(truth))],
            "categories": [{"id": kind + 1, "name": str(kind)} for kind in range(9)],
            "annotations": listed(truth, true=True),
        }
        coco.createIndex()
        judged = COCOeval(coco, coco.loadRes(listed(found, true=False)), "bbox")
        judged.evaluate()
        judged.accumulate()
        judged.summarize()
    return float(judged.stats[0]), float(judged.stats[1])


def scene(seed: int) -> tuple[list[Boxes], list[Boxes]]:
    """Return detections and true boxes of some images: near hits, misses, doubles, ties, crowds and empty images."""
    rng = np.random.default_rng(seed)
    found, truth = [], []
    for image in range(12):
        count = int(rng.integers(0, 8)) if image else 0
        corner = rng.uniform(0, 300, (count, 2))
        true = np.concatenate([corner, corner + rng.uniform(5, 90, (count, 2))], axis=1)
        kinds = rng.integers(0, 4, count)
        crowds = rng.random(count) < 0.15
        near = np.repeat(true, 2, axis=0) + rng.normal(0, 4, (2 * count, 4))
        stray = rng.uniform(0, 300, (3, 2))
        mine = np.concatenate([near, np.concatenate([stray, stray + 40], axis=1)])
        mine[:, 2:] = np.maximum(mine[:, 2:], mine[:, :2] + 1)
        mine_kinds = np.concatenate([np.repeat(kinds, 2), rng.integers(0, 6, 3)])
        scores = np.round(rng.random(len(mine)), 1)  # many ties
        found.append(boxes(mine, mine_kinds, scores))
        truth.append(boxes(true, kinds, crowds=crowds))
    return found, truth


@pytest.mark.parametrize("seed", range(8))
def test_the_scores_are_those_of_pycocotools(seed: int) -> None:
    found, truth = scene(seed)
    mean, at_half = by_pycocotools(found, truth)

    scores = box_scores(found, truth)

    assert 0.1 < at_half < 0.99
    assert scores.total["map"] == pytest.approx(mean, abs=1e-9)
    assert scores.total["map50"] == pytest.approx(at_half, abs=1e-9)


def test_more_than_a_hundred_boxes_of_a_class_count_as_pycocotools_counts_them() -> None:
    grid = np.stack(np.meshgrid(np.arange(12), np.arange(12)), axis=-1).reshape(-1, 2) * 20.0
    true = np.concatenate([grid, grid + 15], axis=1)
    found = [boxes(true + 1, np.zeros(144, np.int64), np.linspace(1, 0.1, 144))]
    truth = [boxes(true, np.zeros(144, np.int64))]

    mean, at_half = by_pycocotools(found, truth)

    scores = box_scores(found, truth).total
    assert scores == {"map": pytest.approx(mean), "map50": pytest.approx(at_half)}
    assert at_half < 0.75  # 100 of 144


def test_a_box_found_twice_counts_against_precision_and_a_missed_class_is_zero() -> None:
    truth = [boxes([[0, 0, 10, 10], [20, 20, 30, 30]], [0, 1])]
    found = [boxes([[0, 0, 10, 10], [0, 0, 10, 9]], [0, 0], [0.9, 0.8])]

    scores = box_scores(found, truth)

    assert scores.by_class == {0: {"map": 1.0, "map50": 1.0}, 1: {"map": 0.0, "map50": 0.0}}
    assert scores.total == {"map": 0.5, "map50": 0.5}


def test_without_a_true_box_the_scores_are_zero() -> None:
    assert box_scores([boxes([], [])], [boxes([], [])]).total == {"map": 0.0, "map50": 0.0}
