"""Each task: what its options mean for a model, its forms, and how it begins on a video."""

from dataclasses import replace
from typing import Any

import pytest
from pydantic import ValidationError

from service.card import Card, Window
from service.errors import InvalidParameterError
from service.heads.detect import DetectionOptions
from service.heads.over_time.combiner import Combiner
from service.heads.over_time.temporal import TemporalCombiner
from service.media_types import FLOATS, JPEG, PNG
from service.tasks.classify import ClassifyOptions
from service.tasks.detect import DetectOptions, DetectVideoOptions, class_ids
from service.tasks.options import settle_top_k
from service.tasks.task import TaskOptions
from service.tasks.tasks import TASKS
from service.tasks.temporal import TemporalOptions
from tests.servables import color_card

CARD = color_card()


def card(**changes: Any) -> Card:
    return CARD.model_copy(update=changes)


def test_tasks_are_found_by_their_names() -> None:
    assert list(TASKS) == ["classify", "segment", "detect", "embed", "temporal"]
    assert all(task.name == name for name, task in TASKS.items())


def test_every_network_for_images_can_embed() -> None:
    assert TASKS["embed"].networks == ("embed", "classify", "detect", "segment")
    assert TASKS["segment"].networks == ("segment",)


@pytest.mark.parametrize(("top_k", "classes", "settled"), [(None, 3, 3), (None, 9, 5), (9, 9, 9)])
def test_top_k_is_five_or_all_of_fewer(top_k: int | None, classes: int, settled: int) -> None:
    assert settle_top_k(top_k, card(labels=("x",) * classes)) == settled


def test_more_classes_than_there_are_are_refused() -> None:
    with pytest.raises(InvalidParameterError, match="top_k: colors has 1 to 3 classes, not 4"):
        TASKS["classify"].settle(ClassifyOptions(top_k=4), CARD)


def test_detections_are_settled_with_the_ids_of_the_classes() -> None:
    options = DetectOptions(classes=("blue, red", "red"), nms="soft", normalized=True)
    settled = TASKS["detect"].settle(options, CARD)
    assert settled == DetectionOptions(class_ids=frozenset({0, 2}), nms="soft", normalized=True)
    assert TASKS["detect"].settle(DetectOptions(), CARD).class_ids is None


@pytest.mark.parametrize(
    ("options", "alike", "of_one_box"),
    [
        (DetectOptions(), "per_class", "none"),
        (DetectOptions(nms="agnostic"), "agnostic", "agnostic"),
        (DetectOptions(nms="none"), "none", "none"),
        (DetectVideoOptions(), "per_class", "none"),
    ],
)
def test_boxes_compete_where_the_network_does_not_give_each_object_one(
    options: DetectVideoOptions, alike: str, of_one_box: str
) -> None:
    settle = TASKS["detect"].settle
    assert settle(options, CARD).nms == alike
    assert settle(options, card(nms_free=True)).nms == of_one_box


@pytest.mark.parametrize(
    ("names", "fault"),
    [(["gren"], "there is no 'gren'; near: green"), (["zebra"], "near: blue, green, red")],
)
def test_a_class_that_a_model_lacks_is_answered_with_near_ones(
    names: list[str], fault: str
) -> None:
    with pytest.raises(InvalidParameterError, match=fault):
        class_ids(names, CARD.labels)


def test_an_empty_name_and_a_label_without_meaning_name_no_class() -> None:
    assert class_ids(["", " , "], CARD.labels) is None
    with pytest.raises(InvalidParameterError):
        class_ids(["x"], ("", "x y"))


@pytest.mark.parametrize(
    ("task", "form", "media_types"),
    [
        ("segment", "mask", (PNG,)),
        ("segment", "overlay", (JPEG, PNG)),
        ("segment", "cutout", (PNG,)),
        ("segment", "confidence", (PNG,)),
        ("detect", "overlay", (JPEG, PNG)),
        ("embed", "floats", (FLOATS,)),
    ],
)
def test_each_rendering_has_its_media_types(
    task: str, form: str, media_types: tuple[str, ...]
) -> None:
    assert TASKS[task].rendering(form).media_types == media_types


def test_only_drawings_in_colors_need_the_image_itself() -> None:
    drawing = {
        (task.name, name)
        for task in TASKS.values()
        for name, rendering in task.renderings.items()
        if rendering.draws
    }
    assert drawing == {("detect", "overlay"), ("segment", "overlay"), ("segment", "cutout")}


def test_only_a_network_with_a_background_has_cutouts() -> None:
    check = TASKS["segment"].rendering("cutout").check
    check(card(background_id=0))
    with pytest.raises(InvalidParameterError, match="cutout needs a background class, and colors"):
        check(card(background_id=None))


def test_only_vectors_of_several_images_fit_into_one_body() -> None:
    joined = [
        (task.name, name)
        for task in TASKS.values()
        for name, one in task.renderings.items()
        if one.join is not None
    ]
    assert joined == [("embed", "floats")]


def test_an_unknown_option_is_refused() -> None:
    with pytest.raises(ValidationError):
        TaskOptions.model_validate({"anything": 1})


@pytest.mark.parametrize("name", ["classify", "segment", "detect", "embed"])
def test_each_video_has_a_combiner_of_its_own(name: str) -> None:
    over_time = TASKS[name].over_time
    assert over_time is not None
    one, other = (over_time.begin(over_time.options(), CARD) for _ in range(2))
    assert isinstance(one, Combiner)
    assert one is not other


def test_a_temporal_network_takes_the_cards_window_or_another_stride() -> None:
    over_time = TASKS["temporal"].over_time
    assert over_time is not None
    network = card(window=Window(frames=4, stride=2, fps=6))
    combiner = over_time.begin(TemporalOptions(stride=1), network)
    assert isinstance(combiner, TemporalCombiner)
    assert network.window == Window(frames=4, stride=2, fps=6)


@pytest.mark.parametrize("name", ["video", "models", "admin", "Mean", "mean-color", ""])
def test_a_name_that_is_taken_or_fits_no_path_is_refused(name: str) -> None:
    with pytest.raises(ValueError, match="use a-z, 0-9 and _"):
        replace(TASKS["embed"], name=name)


def test_an_option_that_every_request_has_is_refused() -> None:
    class Own(TaskOptions):
        format: str = "png"

    with pytest.raises(ValueError, match="every request has format"):
        replace(TASKS["embed"], options=Own)
