"""Outputs go through the service's head and are held against the truth; the right scores are counted by hand."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray
from PIL import Image

from exporter.labeled.answers import box_scorer, class_scorer, label_scorer, mask_scorer
from exporter.network import Outputs
from service.card import ImageInput
from service.errors import LabelsError
from service.imaging.decode import Limits
from service.imaging.geometry import plan
from service.imaging.source_image import SourceImage
from service.labeled.scorers import check_masks, mask_size
from service.labeled.truth import LabeledImage, TrueBox

PETS = ("cat", "dog", "bird")


def source(shown_width: int, shown_height: int, **image_input: Any) -> SourceImage:
    target = ImageInput(**{"resize": "stretch", "height": 64, "width": 64, **image_input})
    shown = Image.new("RGB", (shown_width, shown_height))
    return SourceImage(shown, plan(shown_width, shown_height, target), Limits())


ANY = source(8, 8)


def probabilities(*values: float) -> Outputs:
    return {"probabilities": np.array(values, np.float32)}


def labeled(*cells: str) -> LabeledImage:
    return LabeledImage(Path("a.png"), cells)


def test_a_class_is_right_where_it_is_the_most_probable() -> None:
    scorer = class_scorer(PETS)
    scorer.add(probabilities(0.1, 0.7, 0.2), ANY, labeled("dog"))
    scorer.add(probabilities(0.1, 0.2, 0.7), ANY, labeled("dog"))
    scorer.add(probabilities(0.6, 0.2, 0.2), ANY, labeled("0"))

    scores = scorer.scores()

    assert scorer.scorer.ranked[1] == [2, 1, 0]
    assert scorer.scorer.truth == [1, 1, 0]
    assert scores.total == {"top1": pytest.approx(2 / 3)}
    assert scores.by_class == {0: {"accuracy": 1.0}, 1: {"accuracy": 0.5}}


def test_of_more_than_five_classes_the_best_five_count() -> None:
    many = tuple("abcdefg")
    scorer = class_scorer(many)
    falling = probabilities(0.3, 0.2, 0.15, 0.12, 0.1, 0.08, 0.05)
    for name in ("a", "e", "f"):
        scorer.add(falling, ANY, labeled(name))

    assert scorer.scorer.ranked[0] == [0, 1, 2, 3, 4]
    assert scorer.scores().total == {
        "top1": pytest.approx(1 / 3),
        "top5": pytest.approx(2 / 3),
    }


def test_a_label_is_assigned_from_a_half_on() -> None:
    scorer = label_scorer(PETS)
    scorer.add(probabilities(0.5, 0.499, 0.9), ANY, labeled("cat", "dog"))
    scorer.add(probabilities(0.1, 0.2, 0.3), ANY, labeled("none"))

    assert np.array(scorer.scorer.assigned).tolist() == [[True, False, True], [False, False, False]]
    assert np.array(scorer.scorer.truth).tolist() == [[True, True, False], [False, False, False]]
    scores = scorer.scores()
    # Of six decisions four are right; one label is a hit, one is missed and one too many.
    assert scores.total["accuracy"] == pytest.approx(4 / 6)
    assert scores.total["exact_match"] == 0.5
    assert scores.total["f1_micro"] == pytest.approx(2 * 1 / (2 * 1 + 1 + 1))


def found(*rows: list[float]) -> Outputs:
    """Return a detector's outputs; a row is xyxy in 0–1 of the frame, score and class."""
    values = np.array(rows, np.float32).reshape(-1, 6)
    return {
        "boxes": values[:, :4],
        "scores": values[:, 4],
        "classes": values[:, 5].astype(np.int32),
    }


def boxed(*boxes: TrueBox) -> LabeledImage:
    return LabeledImage(Path("a.png"), boxes=boxes)


def test_boxes_are_compared_on_the_image_as_displayed() -> None:
    """An image of 100×50 fills the middle 64×32 of the frame: 0.64 pixels for one, 16 pixels from above."""
    place = source(100, 50, resize="letterbox")
    scorer = box_scorer(PETS)
    left, top, right, bottom = 10.0, 5.0, 60.0, 45.0
    frame = [
        left * 0.64 / 64,
        (top * 0.64 + 16) / 64,
        right * 0.64 / 64,
        (bottom * 0.64 + 16) / 64,
    ]
    scorer.add(found([*frame, 0.9, 1]), place, boxed(TrueBox("dog", (left, top, right, bottom))))

    np.testing.assert_allclose(scorer.scorer.found[0].xyxy, [[left, top, right, bottom]], atol=0.01)
    assert scorer.scores().total == {"map": 1.0, "map50": 1.0}
    assert scorer.scores().by_class == {1: {"map": 1.0, "map50": 1.0}}


HALF = [0.25, 0.25, 0.75, 0.75]
TRUE_HALF = (25.0, 25.0, 75.0, 75.0)


def test_low_scores_count_and_those_of_another_class_do_not() -> None:
    scorer = box_scorer(PETS)
    place = source(100, 100)
    scorer.add(found([*HALF, 0.01, 1]), place, boxed(TrueBox("dog", TRUE_HALF)))
    assert scorer.scores().total["map"] == 1.0

    scorer.add(found([*HALF, 0.9, 2]), place, boxed(TrueBox("dog", TRUE_HALF)))
    # One of two dogs is found: the precision is 1 up to a recall of one half, 51 of 101 recalls.
    assert scorer.scores().total["map"] == pytest.approx(51 / 101)


def test_a_network_that_gives_each_object_one_box_keeps_them_all() -> None:
    twice = found([*HALF, 0.9, 1], [*HALF, 0.8, 1])
    kept = []
    for nms_free in (False, True):
        scorer = box_scorer(PETS, nms_free=nms_free)
        scorer.add(twice, source(100, 100), boxed())
        kept.append(len(scorer.scorer.found[0].scores))

    assert kept == [1, 2]


def test_crowds_and_boxes_of_unknown_names() -> None:
    scorer = box_scorer(PETS)
    crowd = TrueBox("dog", TRUE_HALF, is_crowd=True)
    scorer.add(found(), source(100, 100), boxed(crowd, TrueBox("wolf", TRUE_HALF)))

    (truth,) = scorer.scorer.truth
    assert truth.classes.tolist() == [1]
    assert truth.crowds.tolist() == [True]
    assert scorer.scorer.found[0].xyxy.shape == (0, 4)
    assert scorer.scores().total == {"map": 0.0, "map50": 0.0}


def save_mask(folder: Path, values: Any, mode: str | None = None) -> LabeledImage:
    path = folder / "mask.png"
    image = Image.fromarray(np.array(values, np.uint8))
    (image.convert(mode) if mode else image).save(path)
    return LabeledImage(folder / "a.png", mask=path)


@pytest.mark.parametrize("dtype", [np.uint8, np.float64])
def test_masks_are_counted_pixel_by_pixel(dtype: type, tmp_path: Path) -> None:
    """`found` and truth of six pixels, of which one does not count."""
    scorer = mask_scorer(PETS, None)
    image = save_mask(tmp_path, [[0, 1, 2], [1, 1, 255]])
    confidence: NDArray[Any] = np.ones((2, 3), dtype) * (255 if dtype is np.uint8 else 1)
    outputs = {"mask": np.array([[0, 1, 1], [1, 0, 2]], np.uint8), "confidence": confidence}

    scorer.add(outputs, source(3, 2, height=2, width=3), image)

    assert scorer.scorer.counts.tolist() == [[1, 0, 0, 0], [1, 2, 0, 0], [0, 1, 0, 0]]
    # IoU of class 0 is 1 of 2, of class 1 it is 2 of 4, of class 2 none.
    assert scorer.scores().total == {
        "miou": pytest.approx((1 / 2 + 2 / 4 + 0) / 3),
        "pixel_accuracy": pytest.approx(3 / 5),
    }
    scorer.add(outputs, source(3, 2, height=2, width=3), image)
    assert scorer.scorer.counts.sum() == 10


@pytest.mark.parametrize(("background", "column"), [(None, 3), (0, 0), (2, 2)])
def test_pixels_that_the_network_did_not_see_are_background_or_wrong(
    background: int | None, column: int, tmp_path: Path
) -> None:
    """Of an image of 4×2 only the middle 2×2 are cut out."""
    scorer = mask_scorer(PETS, background)
    image = save_mask(tmp_path, [[0] * 4] * 2)
    outputs = {"mask": np.ones((2, 2), np.uint8), "confidence": np.full((2, 2), 255, np.uint8)}

    place = source(4, 2, height=2, width=2, resize="crop", shorter_side=2)
    scorer.add(outputs, place, image)

    expected = [0, 0, 0, 0]
    expected[1] += 4
    expected[column] += 4
    assert scorer.scorer.counts[0].tolist() == expected


def test_the_size_of_a_mask_is_width_and_height(tmp_path: Path) -> None:
    assert mask_size(save_mask(tmp_path, [[0, 1, 2], [0, 1, 2]])) == (3, 2)


@pytest.mark.parametrize("mode", [None, "P", "1"])
def test_masks_are_gray_have_a_palette_or_one_bit(mode: str | None, tmp_path: Path) -> None:
    check_masks((save_mask(tmp_path, [[0, 1]], mode), LabeledImage(tmp_path / "b.png")), 2)


def test_signed_and_wide_masks_are_read(tmp_path: Path) -> None:
    path = tmp_path / "mask.tif"
    Image.fromarray(np.array([[0, 1, 255]], np.int32)).save(path)
    image = LabeledImage(tmp_path / "a.png", mask=path)

    check_masks((image,), 2)
    Image.fromarray(np.array([[0, -1]], np.int32)).save(path)
    with pytest.raises(
        LabelsError, match=r"mask\.tif holds -1, the network has the classes 0 to 1"
    ):
        check_masks((image,), 2)


def test_a_value_that_is_no_class_is_refused(tmp_path: Path) -> None:
    image = save_mask(tmp_path, [[0, 2, 255]])

    check_masks((image,), 3)
    with pytest.raises(
        LabelsError, match=r"holds 2, the network has the classes 0 to 1; 255 is for"
    ):
        check_masks((image,), 2)


def test_masks_of_0_and_255_alone_ignore_the_object(tmp_path: Path) -> None:
    (tmp_path / "other").mkdir()
    other = save_mask(tmp_path / "other", [[1, 0]])
    both = save_mask(tmp_path, [[0, 255]])

    with pytest.raises(LabelsError, match=r"hold 0 and 255 alone.*Write the class's index, 1"):
        check_masks((both,), 2)
    check_masks((both, other), 2)
    check_masks((save_mask(tmp_path, [[0, 0]]),), 2)
    check_masks((), 2)


def test_a_mask_of_colors_or_none_is_refused(tmp_path: Path) -> None:
    with pytest.raises(LabelsError, match=r"mask\.png holds colors\. It must be gray"):
        check_masks((save_mask(tmp_path, [[[1, 2, 3]]]),), 2)
    (tmp_path / "mask.png").write_bytes(b"no image")
    with pytest.raises(LabelsError, match=r"the mask mask\.png can not be read: "):
        check_masks((LabeledImage(tmp_path / "a.png", mask=tmp_path / "mask.png"),), 2)
    floats = tmp_path / "mask.tif"
    Image.fromarray(np.array([[0.5]], np.float32)).save(floats)
    with pytest.raises(LabelsError, match="holds colors"):
        check_masks((LabeledImage(tmp_path / "a.png", mask=floats),), 2)
