"""Other colors and ways of resizing with which a network is right clearly more often are named with their options."""

from dataclasses import replace
from pathlib import Path
from typing import cast

import numpy as np
import pytest
from onnx import helper
from PIL import Image

from exporter.labeled.chance import is_luck
from exporter.labeled.measure import Measurement
from exporter.labeled.other_inputs import better_inputs, in_turns
from exporter.network import Reference
from exporter.outcome import Exported
from exporter.progress import SilentProgress
from service.card import Accuracy
from service.labeled.truth import LabeledImage, LabeledImages
from tests.exporter.labeled.test_alternatives import LABELS, Judge, both, network
from tests.exporter.labeled.test_measure import (
    COLORS,
    SIDE,
    color_network,
    exported,
    measured,
    paint,
    painted_mask,
    save_network,
    segmenter,
)

BGR = {"color": "bgr"}
CROP = {"resize": "crop", "shorter_side": SIDE}


def named(done: Exported) -> list[str]:
    """Return the hints that name something better."""
    return [one for one in done.hints if "as it is exported" in one]


def folders(root: Path, *, sides: tuple[int, int, int] | None = None, count: int = 10) -> str:
    """Write images of each color, 20×12, or 24×8 where only the middle third has the color, and the others `sides`."""
    for name, color in COLORS.items():
        for index in range(count):
            file = root / "set" / name / f"{index}.png"
            paint(file, color)
            if sides is not None:
                image = Image.new("RGB", (3 * SIDE, SIDE), sides)
                image.paste(color, (SIDE, 0, 2 * SIDE, SIDE))
                image.save(file)
    return "set"


def several_network(folder: Path, count: int) -> str:
    """Write a network of independent labels: the first three are above zero where a channel is bright."""
    return save_network(
        folder,
        helper.make_node("Conv", ["pixels", "ten"], ["large"]),
        helper.make_node("GlobalAveragePool", ["large"], ["mean"]),
        helper.make_node("Flatten", ["mean"], ["row"]),
        helper.make_node("MatMul", ["row", "wide"], ["sums"]),
        helper.make_node("Sub", ["sums", "five"], ["raw"]),
        raw=(count,),
        wide=np.eye(3, count, dtype=np.float32),
        five=np.array([5], np.float32),
    )


def test_the_other_order_of_colors_is_named(tmp_path: Path) -> None:
    done = exported(tmp_path, color_network(tmp_path), folders(tmp_path), pixels=BGR)

    assert measured(done).scores == {"top1": pytest.approx(1 / 3, abs=1e-6)}
    (hint,) = named(done)
    assert hint == (
        "top1 of the source is 33.3% as it is exported, 100.0% with --color rgb, on 30 labeled images. Did the "
        "training use it?"
    )
    # Nothing is applied.
    assert done.card.normalization is not None
    assert done.card.normalization.color == "bgr"


def caffe_network(folder: Path) -> str:
    """Write a network that reads bytes in the order blue, green, red, and sees only what is above 50."""
    return save_network(
        folder,
        helper.make_node("GlobalAveragePool", ["pixels"], ["mean"]),
        helper.make_node("Flatten", ["mean"], ["row"]),
        helper.make_node("Sub", ["row", "fifty"], ["above"]),
        helper.make_node("Relu", ["above"], ["seen"]),
        helper.make_node("MatMul", ["seen", "turned"], ["logits"]),
        helper.make_node("Add", ["logits", "bias"], ["raw"]),
        raw=(3,),
        fifty=np.array([50], np.float32),
        turned=(np.eye(3)[::-1] / 10).astype(np.float32),
        bias=np.array([0.3, 0, 0], np.float32),
    )


def test_the_colors_and_values_of_caffe_are_named_together(tmp_path: Path) -> None:
    """Both red, green and blue and the shares of bytes are wrong; neither alone makes the answers right."""
    folders(tmp_path)

    done = exported(tmp_path, caffe_network(tmp_path), "set")
    stated = exported(
        tmp_path, caffe_network(tmp_path), "set", pixels={"mean": [0.0] * 3, "std": [1.0] * 3}
    )

    (hint,) = named(done)
    assert "100.0% with --color bgr --scale 1 --mean 0 --std 1" in hint
    assert "100.0% with --color bgr --scale 1 --mean 103.939,116.779,123.68 --std 1" in hint
    assert named(stated) == []


def test_the_other_way_of_resizing_is_named(tmp_path: Path) -> None:
    """The whole image is mostly blue, its center has the color of its class."""
    labeled = folders(tmp_path, sides=COLORS["blue"])
    done = exported(tmp_path, color_network(tmp_path), labeled)

    (hint,) = named(done)
    assert "33.3% as it is exported, 100.0% with --resize crop --shorter-side 8, on 30" in hint
    assert done.card.input is not None
    assert done.card.input.resize == "stretch"


def test_ways_that_fit_alike_are_all_named(tmp_path: Path) -> None:
    """The center, which the crop keeps, is green in every image; the edges have the color of the class."""
    for name, color in COLORS.items():
        for index in range(10):
            image = Image.new("RGB", (3 * SIDE, SIDE), color)
            image.paste(COLORS["green"], (SIDE, 0, 2 * SIDE, SIDE))
            (tmp_path / "set" / name).mkdir(parents=True, exist_ok=True)
            image.save(tmp_path / "set" / name / f"{index}.png")
    done = exported(tmp_path, color_network(tmp_path), "set", input=CROP)

    (hint,) = named(done)

    assert "100.0% with --resize stretch, 100.0% with --resize letterbox, 100.0% with" in hint
    assert hint.endswith("These are too close to each other to choose: take what the training used")


def test_a_network_that_is_right_is_not_doubted(tmp_path: Path) -> None:
    done = exported(tmp_path, color_network(tmp_path), folders(tmp_path))

    assert named(done) == []


def test_colors_that_are_right_by_chance_alone_are_not_named(tmp_path: Path) -> None:
    """Each answer is wrong; with the other colors a third is right, which no image can show."""
    turned = ("green", "blue", "red")
    done = exported(tmp_path, color_network(tmp_path), folders(tmp_path), labels=turned)

    assert measured(done).scores == {"top1": 0}
    assert named(done) == []


@pytest.mark.parametrize(("each", "is_named"), [(20, True), (4, False)])
def test_common_values_are_named_where_others_are_stated(
    each: int, tmp_path: Path, *, is_named: bool
) -> None:
    """Light images are known by ImageNet's mean and std alone, and four of eight may be so by luck."""
    stated = replace(network(lambda mean: mean > 1.2), assumed=())
    accuracy = Accuracy(images=2 * each, scores={"top1": 0.5}, reference={"top1": 0.5}, by_label={})

    found = better_inputs(
        stated, LABELS, both(tmp_path, each), Measurement(accuracy, "set"), SilentProgress()
    )

    options = "--mean 0.485,0.456,0.406 --std 0.229,0.224,0.225"
    assert [one.scores for one in found] == [((options, 1.0),)] * is_named


def test_few_images_show_nothing(tmp_path: Path) -> None:
    """Of six images four are better, which luck explains."""
    done = exported(tmp_path, color_network(tmp_path), folders(tmp_path, count=2), pixels=BGR)

    assert named(done) == []


def test_the_colors_of_a_segmenter_are_named(tmp_path: Path) -> None:
    rng = np.random.default_rng(2)
    for name in ("images", "masks"):
        (tmp_path / "set" / name).mkdir(parents=True)
    for index in range(12):
        mask = rng.integers(0, 3, (SIDE, SIDE), np.uint8)
        painted_mask(mask).save(tmp_path / f"set/images/{index}.png")
        Image.fromarray(mask).save(tmp_path / f"set/masks/{index}.png")
    done = exported(tmp_path, segmenter(tmp_path), "set", task="segment", pixels=BGR)

    (hint,) = named(done)

    assert "100.0% with --color rgb, on 12 labeled images" in hint


def test_several_labels_are_compared_by_their_f1(tmp_path: Path) -> None:
    """Of twenty labels an image has one: nine tenths of the decisions are right whatever the network sees."""
    names = [f"{name}{at}" for at in range(7) for name in COLORS]
    folders(tmp_path)
    rows = [f"set/{name}/{at}.png,{name}0" for name in COLORS for at in range(10)]
    (tmp_path / "set.csv").write_text("\n".join(["file,labels", *rows]))
    done = exported(
        tmp_path,
        several_network(tmp_path, len(names)),
        "set.csv",
        labels=tuple(names),
        multi_label=True,
        pixels=BGR,
    )

    assert measured(done).scores["accuracy"] > 0.9
    (hint,) = named(done)
    assert hint.startswith("f1_micro of the source is 33.3% as it is exported, 100.0% with --color")


def test_after_the_time_no_further_batch_is_tried(tmp_path: Path) -> None:
    paint(tmp_path / "red.png", COLORS["red"])
    labeled = LabeledImages("set", (LabeledImage(tmp_path / "red.png", ("dark",)),) * 60)
    low = Measurement(Accuracy(images=60, scores={"top1": 0.0}), "set")
    net = network(lambda _: True)

    for seconds, batches in ((0.0, [8] * 5), (1e6, [*[8] * 5 * 7, *[4] * 5])):
        judged = replace(net, reference=cast("Reference", Judge(lambda _: True)))
        better_inputs(judged, LABELS, labeled, low, SilentProgress(), most_seconds=seconds)
        # The stated input, the other order of colors, and three other ways of resizing.
        assert cast("Judge", judged.reference).batches == batches


def test_an_input_without_an_answer_is_passed_over(tmp_path: Path) -> None:
    """A network whose outputs are no numbers where blue is first is exported, without a word of that order."""
    source = save_network(
        tmp_path,
        helper.make_node("Conv", ["pixels", "ten"], ["large"]),
        helper.make_node("GlobalAveragePool", ["large"], ["mean"]),
        helper.make_node("Flatten", ["mean"], ["row"]),
        helper.make_node("MatMul", ["row", "difference"], ["apart"]),
        helper.make_node("Sqrt", ["apart"], ["root"]),
        helper.make_node("MatMul", ["root", "alone"], ["logits"]),
        helper.make_node("Add", ["logits", "row"], ["sum"]),
        helper.make_node("Sub", ["sum", "five"], ["raw"]),
        raw=(3,),
        five=np.array([5], np.float32),
        difference=np.array([[1], [0], [-1]], np.float32),
        alone=np.array([[0, 9, 0]], np.float32),
    )
    reds = tmp_path / "reds"
    for index in range(12):
        paint(reds / f"{index}.png", (200 + index, 20, 20))
        paint(tmp_path / f"set/red/{index}.png", (200 + index, 20, 20))
    proof = {"images": str(reds)}

    done = exported(tmp_path, source, "set", proof=proof)

    assert measured(done).scores == {"top1": 0.0}
    assert not any("--color bgr" in one for one in named(done))


def test_the_first_images_show_every_class() -> None:
    images = [LabeledImage(Path(f"{at}.png"), (str(at // 20),)) for at in range(60)]

    turned = in_turns(images)

    assert {one.cells for one in turned[:8]} == {("0",), ("1",), ("2",)}
    assert sorted(one.file.name for one in turned) == sorted(one.file.name for one in images)


@pytest.mark.parametrize(
    ("gained", "lost", "expected"), [(8, 0, True), (9, 0, False), (9, 3, True), (40, 12, False)]
)
def test_luck_is_told_by_the_images_that_change(gained: int, lost: int, *, expected: bool) -> None:
    better = [1.0] * gained + [0.0] * lost + [1.0] * 100
    current = [0.0] * gained + [1.0] * lost + [1.0] * 100

    assert is_luck(better, current) == expected
