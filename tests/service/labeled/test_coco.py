"""Annotations in COCO's form (https://cocodataset.org/#format-data)."""

import json
from pathlib import Path
from typing import Any

import pytest

from service.errors import LabelsError
from service.labeled.coco import find_coco, read_coco
from service.labeled.truth import LabeledImage, LabeledImages, TrueBox

CONTENT: dict[str, Any] = {
    "info": {"year": 2017},
    "images": [
        {"id": 9, "file_name": "b.png", "width": 640, "height": 480},
        {"id": 2, "file_name": "deep/a.png", "width": 640},
    ],
    "categories": [{"id": 17, "name": "dog"}, {"id": 3, "name": "cat"}],
    "annotations": [
        {"image_id": 9, "category_id": 17, "bbox": [1.5, 2, 30, 40.25], "iscrowd": 0},
        {"image_id": 9, "category_id": 3, "bbox": [0, 0, 640, 480], "iscrowd": 1},
        {"image_id": 77, "category_id": 3, "bbox": [0, 0, 1, 1]},
    ],
}


def write(path: Path, content: object) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps(content), encoding="utf-8")
    return path


def put(folder: Path, *names: str) -> None:
    for name in names:
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).touch()


def test_boxes_are_corners_and_images_come_in_the_order_of_their_ids(tmp_path: Path) -> None:
    put(tmp_path, "deep/a.png", "b.png")

    found = read_coco(write(tmp_path / "instances_val.json", CONTENT), None)

    # COCO's boxes are x, y, width and height.
    boxes = (
        TrueBox("dog", (1.5, 2.0, 31.5, 42.25)),
        TrueBox("cat", (0.0, 0.0, 640.0, 480.0), is_crowd=True),
    )
    assert found == LabeledImages(
        "instances_val.json",
        (
            LabeledImage(tmp_path / "deep/a.png"),
            LabeledImage(tmp_path / "b.png", boxes=boxes, size=(640, 480)),
        ),
    )


@pytest.mark.parametrize(
    "place",
    ["annotations", "annotations/images", "annotations/train2017", "images", "train2017"],
)
def test_images_are_found_where_such_files_commonly_have_them(place: str, tmp_path: Path) -> None:
    put(tmp_path / place, "deep/a.png", "b.png")
    path = write(tmp_path / "annotations/instances_train2017.json", CONTENT)

    found = read_coco(path, None)

    assert [image.file for image in found.images] == [
        tmp_path / place / "deep/a.png",
        tmp_path / place / "b.png",
    ]


@pytest.mark.parametrize("folder", [".", "images"])
def test_backslashes_of_windows_are_slashes_where_no_file_has_them(
    folder: str, tmp_path: Path
) -> None:
    images = [{"id": 1, "file_name": "deep\\a.png"}, {"id": 2, "file_name": "odd\\b.png"}]
    put(tmp_path / folder, "deep/a.png", "odd\\b.png")

    found = read_coco(
        write(tmp_path / "set.json", {**CONTENT, "images": images, "annotations": []}), None
    )

    assert [one.file for one in found.images] == [
        tmp_path / folder / "deep/a.png",
        tmp_path / folder / "odd\\b.png",
    ]


def test_a_stated_folder_is_the_only_one(tmp_path: Path) -> None:
    path = write(tmp_path / "boxes.json", CONTENT)
    put(tmp_path, "deep/a.png", "b.png")

    with pytest.raises(LabelsError, match=r"2 of 2 images are not there, .*elsewhere"):
        read_coco(path, tmp_path / "elsewhere")
    put(tmp_path / "elsewhere", "deep/a.png", "b.png")
    found = read_coco(path, tmp_path / "elsewhere")
    assert found.images[1].file == tmp_path / "elsewhere/b.png"


def test_one_missing_image_is_named(tmp_path: Path) -> None:
    put(tmp_path, "deep/a.png")

    with pytest.raises(LabelsError, match=r"1 of 2 images are not there, the first is .*b\.png"):
        read_coco(write(tmp_path / "boxes.json", CONTENT), None)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"categories": None}, "categories is no list"),
        ({"categories": [{"id": 17}]}, "categories\\[0\\] has no name"),
        ({"annotations": [{"image_id": 9, "category_id": 5, "bbox": [0, 0, 1, 1]}]}, "of an annotation is no category"),
        ({"annotations": [{"image_id": 9, "category_id": 3, "bbox": [0, 0, 1]}]}, "is not four numbers"),
        ({"annotations": [{"image_id": 9, "category_id": 3, "bbox": "abcd"}]}, "bbox abcd is not four numbers"),
        ({"annotations": [{"category_id": 3, "bbox": [0, 0, 1, 1]}]}, "annotations\\[0\\] has no image_id"),
        ({"images": [{"id": 9}]}, "images\\[0\\] has no file_name"),
        ({"images": [{"file_name": "b.png"}]}, "images\\[0\\] has no id"),
        ({"images": []}, "it lists no images"),
        ({"images": [7]}, r"images\[0\] is no object"),
        ({"images": [{"id": 9, "file_name": "b.png", "width": "wide", "height": 2}]}, "width 'wide' and height 2"),
        ({"images": [{"id": 9, "file_name": "b.png"}, {"id": "x", "file_name": "c"}]}, "ids are not all numbers"),
        ({"categories": [{"id": [], "name": "a"}]}, "ids are not all numbers"),
        ({"annotations": [{"image_id": 9, "category_id": 3, "bbox": [0, 0, float("nan"), 1]}]}, "is not finite"),
        ({"annotations": [{"image_id": 9, "category_id": 3, "bbox": [0, 0, 1e200, 1e200]}]}, "is not finite"),
        ({"annotations": [{"image_id": 9, "category_id": 3, "bbox": [5, 5, -5, 1]}]}, "a width or height below 0"),
        ({"annotations": [{"image_id": "9", "category_id": 3, "bbox": [0, 0, 1, 1]}]}, "annotation belongs to"),
        ({"images": [{"id": 9, "file_name": "b.png"}, {"id": 9, "file_name": "deep/a.png"}]}, "have the same id"),
        ({"images": [{"id": 9, "file_name": "b.png"}, {"id": 2, "file_name": "b.png"}]}, "file_name 'b.png'"),
    ],
)  # fmt: skip
def test_another_form_is_refused_with_what_is_wrong(
    change: dict[str, Any], message: str, tmp_path: Path
) -> None:
    put(tmp_path, "deep/a.png", "b.png")

    with pytest.raises(LabelsError, match=rf"set\.json: .*{message}"):
        read_coco(write(tmp_path / "set.json", {**CONTENT, **change}), None)


def test_a_missing_part_is_another_form(tmp_path: Path) -> None:
    with pytest.raises(
        LabelsError, match=r"it has no categories\. It needs categories \(id, name\), "
    ):
        read_coco(write(tmp_path / "set.json", {"images": []}), None)


@pytest.mark.parametrize(
    ("content", "message"),
    [(b"{", r"set\.json is not JSON: "), (b"[]", "it is no object"), (b"\xff\xff", "is not JSON")],
)
def test_what_is_no_json_object_is_refused(content: bytes, message: str, tmp_path: Path) -> None:
    (tmp_path / "set.json").write_bytes(content)

    with pytest.raises(LabelsError, match=message):
        read_coco(tmp_path / "set.json", None)


def test_a_byte_order_mark_is_read_over(tmp_path: Path) -> None:
    put(tmp_path, "deep/a.png", "b.png")
    text = json.dumps(CONTENT)
    (tmp_path / "set.json").write_bytes(b"\xef\xbb\xbf" + text.encode())

    assert len(read_coco(tmp_path / "set.json", None).images) == 2


def test_a_folder_must_have_one_json_file(tmp_path: Path) -> None:
    with pytest.raises(LabelsError, match="of JSON files the folder has none"):
        find_coco(tmp_path)
    put(tmp_path, "b.json", "a.txt")
    assert find_coco(tmp_path) == tmp_path / "b.json"
    put(tmp_path, "a.json")
    with pytest.raises(
        LabelsError, match=r"the folder has a\.json, b\.json\. Give the file itself"
    ):
        find_coco(tmp_path)


def sized(tmp_path: Path, boxes: list[list[float]]) -> Path:
    """Return annotations of one image of 100×80 pixels."""
    annotations = [{"image_id": 1, "category_id": 3, "bbox": box} for box in boxes]
    image = {"id": 1, "file_name": "a.png", "width": 100, "height": 80}
    put(tmp_path, "a.png")
    content = {"images": [image], "categories": [{"id": 3, "name": "cat"}]}
    return write(tmp_path / "set.json", {**content, "annotations": annotations})


def test_boxes_that_are_corners_are_refused(tmp_path: Path) -> None:
    corners = [[x, x / 2, x + 20, x / 2 + 30] for x in map(float, range(10, 80, 7))]

    with pytest.raises(LabelsError, match=r"if bbox is x1, y1, x2, y2\. Write x, y, width, height"):
        read_coco(sized(tmp_path, corners), None)


@pytest.mark.parametrize(
    "boxes",
    [
        # In the image.
        [[x, x / 2, 20, 30] for x in map(float, range(10, 80, 7))],
        # Beyond it, but no corners.
        [[x, x / 2, 30, 50] for x in map(float, range(40, 90, 5))],
        # Too few to tell.
        [[60.0, 40.0, 80.0, 60.0]] * 3,
    ],
)
def test_other_boxes_pass_also_beyond_their_image(boxes: list[list[float]], tmp_path: Path) -> None:
    assert len(read_coco(sized(tmp_path, boxes), None).images[0].boxes) == len(boxes)
