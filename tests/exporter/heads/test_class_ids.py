"""Each class id needs its label, and where nothing shows that ids begin at 0, the export asks."""

from typing import Any

import numpy as np
import pytest

from exporter.errors import RecipeError
from exporter.heads.class_ids import check_classes
from exporter.heads.detect import DetectHead
from exporter.heads.embed import EmbedHead
from exporter.heads.select_head import select_head
from exporter.recipe import make_recipe
from tests.exporter.heads.judged import FRAME, array, detect_head, split

BOXES = [[0.1, 0.2, 0.4, 0.6], [0.5, 0.5, 0.9, 0.75]]


def labels_of(count: int, first: str = "kind 0") -> list[str]:
    return [first, *(f"kind {index}" for index in range(1, count))]


def check_kinds(*kinds: float, labels: int, scores: float = 0.9, **detect: Any) -> None:
    rows = [[10.0, 20.0, 30.0, 40.0, scores, kind] for kind in kinds]
    head = detect_head("end2end", (1, len(rows), 6), **detect)
    check_classes(head, [(array(rows),)], labels_of(labels))


def test_each_class_id_needs_a_label() -> None:
    check_kinds(0, 4, labels=5)
    with pytest.raises(RecipeError, match="labels: 4 are given, but the network detects class 4"):
        check_kinds(0, 4, labels=4)
    check_kinds(0, 4, labels=6, class_offset=1)
    with pytest.raises(RecipeError, match="5 are given, but the network detects class 5"):
        check_kinds(0, 4, labels=5, class_offset=1)


def test_a_class_id_is_never_negative() -> None:
    with pytest.raises(
        RecipeError, match=r"class ids, 0, 1, 2, …; on real images it holds -2 to 4"
    ):
        check_kinds(-2, 4, labels=5)
    check_kinds(-1, 4, labels=6, class_offset=1)


def test_rows_of_score_0_have_no_class() -> None:
    check_kinds(-1, 9, labels=2, scores=0.0)


def test_scores_for_each_class_need_no_check() -> None:
    head = detect_head("pair", (1, 2, 4), (1, 2, 2))
    check_classes(head, [(array(BOXES), array([[0.9, 0.1], [0.2, 0.8]]))], ["one"])
    check_classes(EmbedHead(), [(array([3.0, 4.0]),)], [])


def test_classes_of_all_images_count() -> None:
    head = detect_head("triple", (1, 1, 4), (1, 1), (1, 1))
    images = [(array([BOXES[0]]), array([0.9]), array([kind])) for kind in (0.0, 3.0)]

    assert len(split(head, *images)) == 2
    check_classes(head, images, labels_of(4))
    with pytest.raises(RecipeError, match="class 3"):
        check_classes(head, images, labels_of(3))


def named(
    *kinds: float, labels: list[str], known: int | None = None, scores: float = 0.9, **detect: Any
) -> None:
    """Check the classes that a detector names, each in an image of its own."""
    head = detect_head("triple", (1, 1, 4), (1, 1), (1, 1), **detect)
    images = [(array([BOXES[0]]), array([scores]), array([kind])) for kind in kinds]
    if known is not None:
        head = DetectHead(head.decoder, head.recipe, head.anchors, 0, known_classes=known)
    check_classes(head, images, labels)


def test_ids_that_never_are_0_may_begin_at_1_and_are_asked_about() -> None:
    """The last class, whose id would have no label, is on no image."""
    words = r"classes 1 to 3 .* never 0.*--class-offset 0 .*'kind 0' is 0.*--class-offset -1 .*--background first"
    with pytest.raises(RecipeError, match=words):
        named(1, 3, labels=labels_of(5))
    named(0, 3, labels=labels_of(5))


@pytest.mark.parametrize("first", ["background", "__background__", "BG", "N/A", "", "???"])
def test_a_first_label_that_is_no_class_needs_no_question(first: str) -> None:
    named(1, 3, labels=labels_of(5, first))


def test_a_sure_object_that_would_be_background_is_asked_about() -> None:
    with pytest.raises(RecipeError, match=r"class 0 .*'background'.*--class-offset 1 if"):
        named(0, 3, labels=labels_of(6, "background"))
    named(0, 3, labels=labels_of(6, "background"), class_offset=1)
    named(0, 3, labels=labels_of(6, "background"), class_offset=0)
    named(0, 3, labels=labels_of(6, "background"), scores=0.2)


@pytest.mark.parametrize(
    "stated", [{"class_offset": 0}, {"class_offset": -1}, {"background": "first"}]
)
def test_what_is_stated_of_ids_is_not_asked(stated: dict[str, Any]) -> None:
    named(1, 3, labels=labels_of(5), **stated)


def test_a_graph_that_chooses_among_columns_has_ids_from_0() -> None:
    named(1, 3, labels=labels_of(5), known=5)


def test_the_last_id_beyond_the_labels_shows_what_may_be_wrong() -> None:
    with pytest.raises(RecipeError, match=r"detects class 5 .*State --class-offset -1$"):
        named(1, 5, labels=labels_of(5))
    named(1, 5, labels=labels_of(5), class_offset=-1)
    with pytest.raises(RecipeError, match=r"detects class 7 .*background$"):
        named(1, 7, labels=labels_of(5))


def test_an_offset_that_gives_a_negative_id_is_refused() -> None:
    with pytest.raises(
        RecipeError, match=r"--class-offset -1 says .* begin at 1, .* names class 0"
    ):
        named(0, 3, labels=labels_of(5), class_offset=-1)


def pair_of(columns: int, **detect: Any) -> DetectHead:
    recipe = make_recipe(
        {"source": "onnx:net.onnx", "task": "detect", "name": "net", "detect": detect}
    )
    head = select_head(recipe, [(1, 2, 4), (1, 2, columns)], FRAME)
    assert isinstance(head, DetectHead)
    return head


def test_columns_begin_at_0_unless_the_first_is_background() -> None:
    with pytest.raises(RecipeError, match=r"--class-offset -1: .*state --background first"):
        pair_of(3, class_offset=-1)
    head = pair_of(3, class_offset=-1, background="first", score_activation="none")
    assert head.classes == 2
    scores = array([[0.8, 0.1, 0.3], [0.1, 0.7, 0.2]])
    found = head.expected((array(BOXES), scores), FRAME)
    np.testing.assert_array_equal(found["classes"], [[0, 1, 1, 0]])
