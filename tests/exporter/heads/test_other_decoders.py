"""Where a decoder reads other classes than there are labels, the one that the shape could have too is named."""

import pytest

from exporter.errors import RecipeError
from exporter.heads.other_decoders import other_decoders, refuse_wrong_axis
from tests.exporter.heads.judged import detect_head


@pytest.mark.parametrize(
    ("decoder", "dims", "labels", "words"),
    [
        ("yolov8", (1, 84, 85), 80, "(N, A, 5 + K): --decoder yolox or yolov5"),
        ("yolov8", (1, 525, 25), 20, "(N, A, 5 + K): --decoder yolox or yolov5"),
        ("yolov8", (1, 525, 25), 21, "(N, A, 4 + K): --decoder yolov8_rows or detr"),
        ("detr", (1, 25, 300), 20, "(N, 5 + K, A): --decoder yolov5_columns"),
        ("yolov5", (1, 24, 300), 20, "(N, 4 + K, A): --decoder yolov8"),
        ("yolov5", (1, 300, 25), 20, ""),
        ("end2end", (1, 300, 6), 20, ""),
    ],
)
def test_the_labels_show_which_decoders_could_be_right(
    decoder: str, dims: tuple[int, ...], labels: int, words: str
) -> None:
    assert other_decoders(detect_head(decoder, dims), labels) == words


def test_a_wrong_axis_is_refused_by_the_number_of_labels() -> None:
    head = detect_head("yolov8", (1, 525, 25))
    with pytest.raises(RecipeError, match=r"reads 521 classes.*--decoder yolox or yolov5\. State"):
        refuse_wrong_axis(head, 20)
    for labels in (0, 521, 7):
        refuse_wrong_axis(head, labels)


def test_columns_of_a_box_a_score_and_a_class_are_refused_with_the_next_step() -> None:
    head = detect_head("yolov8", (1, 6, 50))
    with pytest.raises(RecipeError, match=r"\(N, A, 6\), as output\.transpose\(1, 2\) gives"):
        refuse_wrong_axis(head, 5)
    for labels in (0, 2):
        refuse_wrong_axis(head, labels)


@pytest.mark.parametrize(
    ("decoder", "dims", "labels", "words"),
    [
        ("yolov8", (1, 144, 8400), 80, r"144 values, 64 \+ 80: a distribution over 16 bins"),
        ("yolov8_rows", (1, 8400, 69), 5, r"69 values, 64 \+ 5: a distribution over 16 bins"),
        ("yolox", (1, 84, 69), 5, r"69 values, 64 \+ 5: a distribution over 16 bins"),
        ("yolov8", (1, 112, 3598), 80, r"112 values, 32 \+ 80: a distribution over 8 bins"),
    ],
)
def test_boxes_that_are_distributions_are_refused_with_the_next_step(
    decoder: str, dims: tuple[int, ...], labels: int, words: str
) -> None:
    head = detect_head(decoder, dims)
    with pytest.raises(RecipeError, match=rf"{words}.*Export the network with its decoding"):
        refuse_wrong_axis(head, labels)
    for other in (0, head.columns, 7):
        refuse_wrong_axis(head, other)
