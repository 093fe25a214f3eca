"""Detectors of Transformers, bytes in to answer out, compared with the library's own postprocessing run by hand."""

import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import httpx
import numpy as np
import pytest
import torch
from numpy.typing import NDArray

from exporter.errors import RecipeError, SourceError
from tests.exporter.families import families
from tests.exporter.sources.pretrained import (
    SIDE,
    Processed,
    as_png,
    by_hand,
    conditional_detr,
    d_fine,
    dab_detr,
    deformable_detr,
    detr,
    exported,
    lw_detr,
    rf_detr,
    rt_detr,
    rt_detr_v2,
    saved,
    table_transformer,
    yolos,
)
from tests.images import photograph
from tests.live import serve

pytestmark = [
    pytest.mark.slow,
    pytest.mark.timeout(600),
    pytest.mark.filterwarnings("ignore"),  # the library's own, about its own internals
]

QUERY = "score_threshold=0&max_detections=300&nms="

Found = list[dict[str, Any]]


def answers(model: Path, body: bytes, folder: Path) -> tuple[Found, Found]:
    """Return what a server answers by default, and with suppression."""
    place = folder / "models" / "small" / "1"
    place.mkdir(parents=True)
    shutil.copy(model, place / "model.onnx")
    with serve(models=folder / "models") as live:
        both = [
            httpx.post(f"{live.url}/v1/detect?{query}", content=body).json()["results"][0]
            for query in (QUERY.removesuffix("&nms="), f"{QUERY}per_class")
        ]
    return both[0]["detections"], both[1]["detections"]


def corners(one: dict[str, Any]) -> list[float]:
    return [one["box"][name] for name in ("x_min", "y_min", "x_max", "y_max")]


@pytest.mark.parametrize(
    "make",
    families(
        yolos, detr, rf_detr, rt_detr_v2,
        others=(table_transformer, conditional_detr, dab_detr, deformable_detr, lw_detr, rt_detr, d_fine),
    ),
)  # fmt: skip
def test_a_server_answers_with_the_boxes_of_transformers_postprocessing(
    make: Callable[[], Processed], tmp_path: Path
) -> None:
    place = saved(make, tmp_path)
    body = as_png(photograph("chelsea"))  # at the network's size, so that no resize differs
    outputs, processor = by_hand(place, "AutoModelForObjectDetection", body)
    expected = processor.post_process_object_detection(
        outputs, threshold=0.0, target_sizes=[(SIDE, SIDE)]
    )[0]

    done = exported(place, tmp_path, "detect")
    found, suppressed = answers(done.path, body, tmp_path)

    boxes = expected["boxes"].clamp(0, SIDE).numpy()
    real = ((boxes[:, 2:] - boxes[:, :2]) > 0).all(axis=1)  # the service leaves empty boxes out
    right = rows(expected["labels"][real], expected["scores"][real], boxes[real])
    served = rows(
        [one["class_id"] for one in found],
        [one["score"] for one in found],
        [corners(one) for one in found],
    )
    assert done.card.nms_free
    assert len(served) == len(right) > 5
    apart = np.abs(served[:, None] - right[None]).max(axis=2)
    assert apart.min(axis=1).max() < 0.01
    assert apart.min(axis=0).max() < 0.01
    if make is yolos:  # its queries overlap here
        assert len(suppressed) < len(found)


def rows(classes: Any, scores: Any, boxes: Any) -> NDArray[np.float64]:
    """Return class, score and box of each detection, (N, 6)."""
    columns = (np.asarray(part, np.float64) for part in (classes, scores))
    return np.column_stack([*columns, np.asarray(boxes, np.float64)])


def of_large_objects() -> Processed:
    """Return a network whose boxes are nearly as large as the frame and reach beyond its right and lower edge.

    Read as two corners, all of them would lie in the frame too.
    """
    model, processor = detr()
    with torch.no_grad():
        last = model.bbox_predictor.layers[-1]
        last.weight *= 0.2
        last.bias.copy_(torch.logit(torch.tensor([0.62, 0.62, 0.95, 0.95])))
    return model, processor


@pytest.mark.parametrize("stated", [{}, {"box_format": "cxcywh"}])
def test_what_the_family_of_a_detector_settles_is_not_asked_because_of_its_boxes(
    stated: dict[str, str], tmp_path: Path
) -> None:
    place = saved(of_large_objects, tmp_path)
    outputs, _ = by_hand(place, "AutoModelForObjectDetection", as_png(photograph("chelsea")))
    first, second = outputs.pred_boxes[0, :, :2], outputs.pred_boxes[0, :, 2:]
    assert bool((second > first).all())
    assert float((first + second / 2).max()) > 1.05

    done = exported(place, tmp_path, "detect", detect=stated)

    assert done.card.boxes is not None
    assert (done.card.boxes.format, done.card.boxes.unit) == ("cxcywh", "frame")
    assert done.card.boxes.assumed == ()


def test_a_form_that_contradicts_the_family_is_judged_by_values(tmp_path: Path) -> None:
    place = saved(of_large_objects, tmp_path)

    with pytest.raises(RecipeError, match="Boxes are stated to be xywh, the upper left corner"):
        exported(place, tmp_path, "detect", detect={"box_format": "xywh"})


def test_a_size_that_windows_do_not_fill_is_refused_with_one_at_which_the_network_runs(
    tmp_path: Path,
) -> None:
    place = saved(rf_detr, tmp_path)

    with pytest.raises(SourceError, match="does not run on an image of 72×72 alone") as refused:
        exported(place, tmp_path, "detect", input={"height": 72, "width": 72})
    done = exported(place, tmp_path, "detect", input={"height": 64, "width": 64})

    assert "It runs on one of 64×64: state --height 64 --width 64" in str(refused.value)
    assert done.card.input is not None
    assert (done.card.input.height, done.card.input.width) == (64, 64)
