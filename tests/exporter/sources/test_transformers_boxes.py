"""How a detector's scores are read is found by trying its own image processor."""

from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import torch
from numpy.typing import NDArray

from exporter.errors import SourceError
from exporter.sources.transformers_boxes import Reading, own_detections, read_scores

tf = pytest.importorskip(
    "transformers", reason="needs Transformers: pip install -e '.[transformers]'"
)

pytestmark = pytest.mark.filterwarnings("ignore")  # the library's own, about its own internals

LOGITS = torch.tensor([[[2.0, 0.0, -1.0], [0.0, 4.0, 1.0]]])
"""Two queries and three columns."""

BOXES = torch.tensor([[[0.5, 0.5, 0.2, 0.4], [0.9, 0.5, 0.6, 0.4]]])
"""cxcywh in 0–1; the second one reaches beyond the frame."""


class Detector:
    """Answers every image with the same queries."""

    def __init__(self, classes: int) -> None:
        self.config = SimpleNamespace(id2label={index: str(index) for index in range(classes)})

    def __call__(self, pixel_values: torch.Tensor) -> Any:
        assert pixel_values.shape == (1, 3, 8, 8)
        return SimpleNamespace(logits=LOGITS, pred_boxes=BOXES)


class Plain:
    """An image processor without postprocessing for detectors."""


class OtherProcessor:
    """An image processor that squares the probabilities."""

    def post_process_object_detection(
        self,
        outputs: Any,
        threshold: float,  # noqa: ARG002 - as the library calls it
    ) -> list[dict[str, Any]]:
        return [{"scores": outputs.logits.sigmoid().flatten() ** 2}]


@pytest.mark.parametrize(
    ("name", "classes", "queries", "reading"),
    [
        # DETR: each query has one class, and the last column is "no object".
        ("Detr", 3, 12, Reading(softmax=True, candidates=12)),
        ("Yolos", 3, 12, Reading(softmax=True, candidates=12)),
        # RT-DETR keeps as many pairs of query and class as it has queries.
        ("RTDetr", 4, 12, Reading(softmax=False, candidates=12)),
        # Deformable and conditional DETR keep at most 100 pairs.
        ("DeformableDetr", 4, 12, Reading(softmax=False, candidates=48)),
        ("DeformableDetr", 4, 50, Reading(softmax=False, candidates=100)),
        ("ConditionalDetr", 4, 50, Reading(softmax=False, candidates=100)),
    ],
)
def test_the_library_s_processors_are_read(
    name: str, classes: int, queries: int, reading: Reading
) -> None:
    processor = getattr(tf, f"{name}ImageProcessorPil")()

    assert read_scores(Detector(classes), processor, queries, 4) == reading


def test_without_postprocessing_a_column_more_than_labels_is_a_softmax() -> None:
    assert read_scores(Detector(3), Plain(), 12, 4) == Reading(softmax=True, candidates=12)
    assert read_scores(Detector(4), Plain(), 12, 4) == Reading(softmax=False, candidates=12)


def test_scores_that_are_read_in_another_way_are_refused() -> None:
    with pytest.raises(SourceError, match="neither with a softmax nor with a sigmoid"):
        read_scores(Detector(3), OtherProcessor(), 10, 4)


def blank(body: bytes) -> NDArray[np.float32]:
    assert body == b"image"
    return np.zeros((3, 8, 8), np.float32)


def test_detections_are_those_of_the_library_the_best_first() -> None:
    detections = own_detections(Detector(2), tf.DetrImageProcessorPil(), blank)
    assert detections is not None

    found = detections(b"image")

    # Softmax by hand: e⁴ / (e⁰ + e⁴ + e¹) and e² / (e² + e⁰ + e⁻¹), without the last column.
    scores = [54.5982 / (1 + 54.5982 + 2.71828), 7.38906 / (7.38906 + 1 + 0.367879)]
    np.testing.assert_allclose(found["scores"], [scores], rtol=1e-5)
    np.testing.assert_array_equal(found["classes"], [[1, 0]])
    # The second query's box reaches beyond the frame; requests cut it to the image.
    corners = [[[0.6, 0.3, 1.2, 0.7], [0.4, 0.3, 0.6, 0.7]]]
    np.testing.assert_allclose(found["boxes"], corners, atol=1e-6)


def test_without_postprocessing_there_are_no_detections_to_compare_with() -> None:
    assert own_detections(Detector(2), Plain(), blank) is None
