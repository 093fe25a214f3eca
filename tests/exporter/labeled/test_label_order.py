"""Labels in another order than the network's outputs show in the answers, and the order is named."""

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from onnx import helper
from PIL import Image

from exporter.labeled.class_pairs import box_pairs
from exporter.labeled.label_order import order_hints
from exporter.labeled.measure import Measurement
from service.card import Accuracy
from service.labeled.scorers import MaskScorer, boxes_of
from service.labeled.truth import LabeledImage, LabeledImages, TrueBox
from tests.exporter.labeled.test_measure import (
    COLORS,
    color_network,
    exported,
    measured,
    paint,
    save_network,
)

NUMBERS = tuple(str(at) for at in range(12))
WORDS = ("ant", "bee", "cat", "dog", "eel", "fox", "gnu", "hen", "ibis", "jay", "koi", "lark")
AS_TEXT = [0, 1, 10, 11, 2, 3, 4, 5, 6, 7, 8, 9]


def found(answers: list[int], truth: list[int]) -> Measurement:
    accuracy = Accuracy(images=len(truth), scores={"top1": 0.5})
    return Measurement(accuracy, "set", tuple(answers), tuple(truth))


def by_order(order: list[int], each: int = 6) -> Measurement:
    """Return what a network answers whose output i is the class order[i], every answer right by that."""
    truth = [one for one in range(len(order)) for _ in range(each)]
    return found([order.index(one) for one in truth], truth)


def images(*cells: str) -> LabeledImages:
    return LabeledImages("set", tuple(LabeledImage(Path("a.png"), (cell,)) for cell in cells))


def hints(
    seen: Measurement, labels: tuple[str, ...], *cells: str, explained: float = 0.0
) -> list[str]:
    return order_hints(seen, labels, images(*(cells or labels)), explained=explained)


def gray_network(folder: Path, order: list[int]) -> str:
    """Write a classifier of twelve gray levels, 20 apart: the nearest has the best score, the outputs in this order."""
    levels = np.array([20 * at + 10 for at in order], np.float32) / 255
    # −(x − level)² without x², which is the same for all.
    return save_network(
        folder,
        helper.make_node("Conv", ["pixels", "ten"], ["large"]),
        helper.make_node("GlobalAveragePool", ["large"], ["mean"]),
        helper.make_node("Flatten", ["mean"], ["row"]),
        helper.make_node("MatMul", ["row", "slope"], ["sloped"]),
        helper.make_node("Add", ["sloped", "offset"], ["raw"]),
        raw=(12,),
        slope=np.stack([200 * levels / 10, 0 * levels, 0 * levels]).astype(np.float32),
        offset=(-100 * levels**2).astype(np.float32),
    )


def gray_folders(folder: Path) -> str:
    for at in range(12):
        for index in range(4):
            paint(folder / "set" / str(at) / f"{index}.png", (20 * at + 10 + index,) * 3)
    return "set"


@pytest.mark.parametrize("labels", [NUMBERS, WORDS])
def test_a_training_on_folders_sorts_numbers_as_text(
    labels: tuple[str, ...], tmp_path: Path
) -> None:
    """The folders are ids beside words, too."""
    done = exported(
        tmp_path, gray_network(tmp_path, AS_TEXT), gray_folders(tmp_path), labels=labels
    )

    assert measured(done).scores["top1"] == pytest.approx(2 / 12, abs=1e-6)
    (hint,) = [one for one in done.hints if "another order: " in one]
    assert hint.startswith("top1 is 16.7%, and would be 100.0% on the same 48 labeled images")
    assert "by their ids as text, as a training on folders sorts them" in hint
    assert ("numbers, which are read as indices" in hint) == (labels is WORDS)


def test_a_network_whose_labels_are_in_its_order_is_not_doubted(tmp_path: Path) -> None:
    source = gray_network(tmp_path, list(range(12)))
    done = exported(tmp_path, source, gray_folders(tmp_path), labels=WORDS)

    assert measured(done).scores["top1"] == 1
    assert not any("another order: " in one for one in done.hints)


@pytest.mark.parametrize(
    ("labels", "order", "words"),
    [
        (WORDS, [*reversed(range(12))], "reversed (lark, koi, jay, ibis, hen, …)"),
        (WORDS, [*range(1, 12), 0], "the first output has the second label (bee, cat,"),
        (WORDS, [11, *range(11)], "the second output has the first label (lark, ant,"),
        (("dog", "cat", "ant"), [2, 1, 0], "by their text, as a training on folders sorts them"),
        (("0", "1", "10", "2"), [0, 1, 3, 2], "by their numbers (0, 1, 2, 10)"),
        (("b", "A", "c"), [1, 0, 2], "by their text"),
    ],
)
def test_the_order_is_named(labels: tuple[str, ...], order: list[int], words: str) -> None:
    (hint,) = hints(by_order(order), labels)

    assert words in hint


def test_an_order_without_a_name_has_its_pairs() -> None:
    (hint,) = hints(by_order([2, 0, 1, 4, 3]), WORDS[:5])

    assert "top1 is 0.0%, and would be 100.0%" in hint
    assert "'cat' where 'ant' is answered (6 images)" in hint


def test_another_input_that_explains_the_answers_as_well_leaves_such_an_order_out() -> None:
    seen = by_order([2, 0, 1, 4, 3])

    assert hints(seen, WORDS[:5], explained=1.0) == []
    assert hints(seen, WORDS[:5], explained=0.5)


@pytest.mark.parametrize(
    ("answers", "truth"),
    [
        ([0] * 40, [0] * 10 + [1] * 30),  # one answer for all images: most are of another class
        ([2, 2, 1] * 10, [0, 1, 2] * 10),  # two answers: a class has none
        ([1, 2, 0], [0, 1, 2]),  # too few images
        ([at * 7 % 5 for at in range(100)], [at * at % 11 % 5 for at in range(100)]),
    ],
)
def test_wrong_answers_of_other_kinds_are_no_order(answers: list[int], truth: list[int]) -> None:
    assert hints(found(answers, truth), WORDS[:5]) == []


def test_a_network_without_one_class_an_image_shows_no_order() -> None:
    seen = Measurement(Accuracy(images=3, scores={"map": 0.1}), "set")

    assert hints(seen, WORDS) == []


def test_chance_makes_no_order() -> None:
    rng = np.random.default_rng(5)
    for _ in range(100):
        answers, truth = (sorted(rng.integers(0, 12, 120).tolist()) for _ in range(2))
        rng.shuffle(answers)
        assert hints(found(answers, truth), WORDS) == []


def pairs_by(order: list[int], each: int = 6) -> tuple[tuple[int, int], ...]:
    """Return pairs of a network whose output i is the class order[i], the classes of an image one after another."""
    return tuple((order.index(true), true) for _ in range(each) for true in range(len(order)))


def of_boxes(pairs: tuple[tuple[int, int], ...]) -> Measurement:
    return Measurement(Accuracy(images=3, scores={"map": 0.1}), "set", boxes=pairs)


def of_areas(pairs: tuple[tuple[int, int], ...]) -> Measurement:
    return Measurement(Accuracy(images=3, scores={"miou": 0.1}), "set", areas=pairs)


@pytest.mark.parametrize(
    ("seen", "words"),
    [
        (of_boxes(pairs_by([3, 2, 1, 0])), "The class is right for 0.0% of the 24 labeled objects on which a box is"),
        (of_areas(pairs_by([3, 2, 1, 0])), "Most pixels have the right class in 0.0% of the 24 areas of the masks"),
    ],
)  # fmt: skip
def test_boxes_and_masks_have_an_order_too(seen: Measurement, words: str) -> None:
    (hint,) = hints(seen, WORDS[:4])

    assert hint.startswith(words)
    assert "100.0% if the labels were in another order: reversed (dog, cat, bee, ant)" in hint


@pytest.mark.parametrize("order", [[1, 0, 2, 3], [2, 0, 1, 3]])
def test_an_order_of_boxes_and_masks_without_a_name_has_its_pairs(order: list[int]) -> None:
    (boxes,) = hints(of_boxes(pairs_by(order)), WORDS[:4])
    (areas,) = hints(of_areas(pairs_by(order)), WORDS[:4])

    assert f"{WORDS[order[0]]!r} where 'ant' is answered (6 boxes)" in boxes
    assert f"{WORDS[order[0]]!r} where 'ant' is answered (6 areas)" in areas


@pytest.mark.parametrize("make", [of_boxes, of_areas])
@pytest.mark.parametrize(
    "pairs",
    [
        pairs_by([0, 1, 2, 3]),
        pairs_by([0, 1, 2, 3], each=1),
        pairs_by([3, 2, 1, 0], each=1),  # too few to tell an order from luck
        tuple((0, true) for true in (0, 1, 2, 3) * 10),  # all is background
        tuple((one * 7 % 4, one * one % 11 % 4) for one in range(100)),
    ],
)
def test_right_few_or_otherwise_wrong_boxes_and_masks_have_none(
    make: Callable[[tuple[tuple[int, int], ...]], Measurement], pairs: tuple[tuple[int, int], ...]
) -> None:
    assert hints(make(pairs), WORDS[:4]) == []


def test_another_input_that_is_better_explains_boxes_without_a_named_order() -> None:
    seen = of_boxes(pairs_by([1, 0, 2, 3]))

    assert hints(seen, WORDS[:4], explained=0.5) == []


@pytest.mark.parametrize("make", [of_boxes, of_areas])
def test_a_named_order_that_is_right_for_a_part_of_the_classes_is_not_taken(
    make: Callable[[tuple[tuple[int, int], ...]], Measurement],
) -> None:
    """Shifted by one fits 18 of these 22, and none of two classes."""
    few = pairs_by([2, 0, 1, 4, 3], each=3)
    pairs = tuple(pair for pair in few if pair[1] not in {2, 4}) * 2 + few[2:5:2] * 2

    (hint,) = hints(make(pairs), WORDS[:5])

    assert "shifted" not in hint
    assert "'cat' where 'ant' is answered" in hint


@pytest.mark.parametrize(
    ("names", "advice"),
    [
        (WORDS[:4], "If set gives the categories other names than the training, correct it; else give --labels in"),
        (("0", "1", "2", "3"), "The classes of set are numbers, which are read as indices of the labels"),
    ],
)  # fmt: skip
def test_the_names_of_boxes_decide_on_the_next_step(names: tuple[str, ...], advice: str) -> None:
    boxes = tuple(TrueBox(name, (0, 0, 1, 1)) for name in names)
    labeled = LabeledImages("set", (LabeledImage(Path("a.png"), boxes=boxes),))

    (hint,) = order_hints(of_boxes(pairs_by([3, 2, 1, 0])), WORDS[:4], labeled)

    assert advice in hint


def test_masks_may_number_the_classes_otherwise() -> None:
    (hint,) = hints(of_areas(pairs_by([3, 2, 1, 0])), WORDS[:4])

    assert "If the masks of set number the classes otherwise, write the indices" in hint


def test_the_class_of_the_best_box_on_an_object_is_taken() -> None:
    on, beside = (0, 0, 10, 10), (50, 50, 60, 60)
    found = boxes_of([on, on, beside, (0, 0, 10, 4)], [2, 1, 3, 0], scores=[0.2, 0.6, 0.9, 0.95])
    true = boxes_of([on, (80, 80, 90, 90), beside], [0, 1, 2], crowds=[False, False, True])

    assert box_pairs([found], [true]) == ((1, 0),)
    assert box_pairs([boxes_of([], []), found], [true, boxes_of([], [])]) == ()


def test_the_class_of_most_pixels_of_an_area_is_taken(tmp_path: Path) -> None:
    Image.fromarray(np.array([[0, 0, 0, 2], [2, 2, 255, 255]], np.uint8)).save(tmp_path / "m.png")
    answer = np.array([[1, 1, 0, 255], [0, 0, 1, 1]], np.uint8)
    scorer = MaskScorer(("a", "b", "c"))

    scorer.add(answer, LabeledImage(tmp_path / "a.png", mask=tmp_path / "m.png"))

    assert scorer.areas == [(1, 0), (0, 2)]


def color_maps(folder: Path, order: list[int]) -> str:
    """Write a segmenter of red, green and blue pixels, whose maps are in this order."""
    weight = np.eye(3, dtype=np.float32)[order][..., None, None] * 10
    return save_network(
        folder,
        helper.make_node("Conv", ["pixels", "weight"], ["maps"]),
        maps=(3, 8, 8),
        weight=weight,
    )


def painted_set(folder: Path) -> str:
    """Write images of stripes in three colors, beside their masks."""
    colors = np.array([*COLORS.values()], np.uint8)
    for index in range(6):
        mask = (np.arange(24) // 8 + np.zeros((24, 1), int)).astype(np.uint8)
        mask = np.roll(mask, index, axis=1)
        for part, content in (("images", colors[mask]), ("masks", mask)):
            (folder / "set" / part).mkdir(parents=True, exist_ok=True)
            Image.fromarray(content).save(folder / "set" / part / f"{index}.png")
    return "set"


@pytest.mark.parametrize(("order", "is_other"), [([2, 1, 0], True), ([0, 1, 2], False)])
def test_a_segmenter_with_its_labels_reversed_is_told(
    order: list[int], tmp_path: Path, *, is_other: bool
) -> None:
    done = exported(
        tmp_path,
        color_maps(tmp_path, order),
        painted_set(tmp_path),
        task="segment",
        labels=[*COLORS],
    )

    told = [one for one in done.hints if "in another order: " in one]
    assert len(told) == is_other
    assert all("(blue, green, red)" in one for one in told)


def test_labels_in_another_order_are_not_called_distances(tmp_path: Path) -> None:
    for name, color in {
        "red": (250, 10, 99),
        "green": (99, 250, 10),
        "blue": (10, 99, 250),
    }.items():
        for index in range(10):
            paint(tmp_path / "set" / name / f"{index}.png", color)
    done = exported(tmp_path, color_network(tmp_path), "set", labels=("blue", "red", "green"))

    assert any("in another order: shifted by one" in one for one in done.hints)
    (hint,) = [one for one in done.hints if "distances" in one]
    assert "Where the labels are in the right order, the scores are distances" in hint
