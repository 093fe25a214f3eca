"""Labeled images are read and checked before a network is loaded."""

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from exporter.encoding import as_png
from exporter.errors import RecipeError
from exporter.labeled.reading import read_labeled
from exporter.named_option import naming_option
from exporter.recipe import make_recipe
from service.errors import LabelsError
from service.labeled.names import ClassNames
from service.labeled.reading import check_answers, without_column
from service.labeled.table import read_table
from service.labeled.truth import LabeledImages

PIXEL = as_png(np.zeros((4, 6, 3), np.uint8))
PETS = ("tabby cat", "dog", "bird")


def put(folder: Path, *files: str) -> None:
    for file in files:
        (folder / file).parent.mkdir(parents=True, exist_ok=True)
        (folder / file).write_bytes(PIXEL)


def read(folder: Path, labeled: str, task: str = "classify", **proof: Any) -> LabeledImages:
    content = {
        "source": "onnx:none.onnx",
        "task": task,
        "name": "net",
        "labels": PETS,
        "proof": {"labeled": labeled, **proof},
        "folder": folder,
    }
    found = read_labeled(make_recipe(content))
    assert found is not None
    return found


def answers(labeled: LabeledImages) -> dict[str, list[str]]:
    return {image.file.name: sorted(image.cells) for image in labeled.images}


def ids(labeled: LabeledImages, names: ClassNames) -> dict[str, list[int]]:
    return {image.file.name: sorted(names.ids(image.cells) or ()) for image in labeled.images}


def test_a_folder_a_class_by_name_or_index(tmp_path: Path) -> None:
    put(tmp_path / "set", "Tabby_Cat/a.png", "1/b.png", "1/deeper/c.png", "bird/d.jpg")
    (tmp_path / "set/dog.txt").write_text("no folder")
    labeled = read(tmp_path, "set")

    names = ClassNames(PETS)
    assert ids(labeled, names) == {"a.png": [0], "b.png": [1], "c.png": [1], "d.jpg": [2]}
    assert labeled.name == "set"


def test_an_unknown_folder_is_an_error_with_the_nearest_label(tmp_path: Path) -> None:
    put(tmp_path / "set", "dog/a.png", "brid/b.png", "3/c.png")
    with pytest.raises(
        RecipeError, match=r"'3', 'brid' \(near: 'bird'\).*3 labels are tabby cat, dog"
    ):
        read(tmp_path, "set")


@pytest.mark.parametrize(
    "text",
    [
        "file,label\nx/a.png,dog\nx/b.png,2\n",
        "\ufefffilename;class\r\nx/a.png;dog\r\nx/b.png;bird\r\n",
        "label\tfile\ndog\tx/a.png\nBird\tx/b.png\n",
        "x/a.png,dog\nx/b.png,bird\n\n",
        'id,file,label\n7,"x/a.png",dog\n8,x/b.png,bird\n',
    ],
)
def test_a_table_of_files_and_labels(tmp_path: Path, text: str) -> None:
    put(tmp_path, "x/a.png", "x/b.png")
    (tmp_path / "set.csv").write_text(text, encoding="utf-8", newline="")
    names = ClassNames(PETS)
    assert ids(read(tmp_path, "set.csv"), names) == {"a.png": [1], "b.png": [2]}


@pytest.mark.parametrize(
    "text",
    [
        "file,labels\na.png,dog|bird\nb.png,\nc.png,dog\n",
        'file,labels\na.png,"dog, bird"\nb.png,none\nc.png,dog\n',
        "file,label\na.png,dog\na.png,bird\nb.png,\nc.png,dog\n",
        "filename,tabby cat,dog,bird\na.png,0,1,1\nb.png,0,0,0\nc.png,0,1,0\n",
    ],
)
def test_a_table_with_several_labels_for_an_image(tmp_path: Path, text: str) -> None:
    put(tmp_path, "a.png", "b.png", "c.png")
    (tmp_path / "set.csv").write_text(text)
    labeled = read(tmp_path, "set.csv")
    names = ClassNames(PETS, several=True)
    assert ids(labeled, names) == {"a.png": [1, 2], "b.png": [], "c.png": [1]}

    check_answers(labeled, PETS, several=True)
    with (
        pytest.raises(RecipeError, match=r"the network has no such class|only one"),
        naming_option("--labeled"),
    ):
        check_answers(labeled, PETS, several=False)


@pytest.mark.parametrize(
    ("cell", "words"),
    [
        (
            "dog|bird",
            r"a\.png has the labels dog\|bird, and an image can .*only one.*--multi-label",
        ),
        ("wolf|bird", r"'wolf\|bird'.*: the network has no such class"),
        ("none", "'none': the network has no such class"),
    ],
)
def test_several_labels_in_a_cell_name_the_option_for_them(
    tmp_path: Path, cell: str, words: str
) -> None:
    put(tmp_path, "a.png", "b.png")
    (tmp_path / "set.csv").write_text(f"file,label\na.png,{cell}\nb.png,dog\n")
    labeled = read_table(tmp_path / "set.csv", None, masks=False)

    with pytest.raises(LabelsError, match=words):
        check_answers(labeled, PETS, several=False)


def test_a_table_that_lacks_the_columns_of_most_labels_is_refused(tmp_path: Path) -> None:
    put(tmp_path, "a.png")
    (tmp_path / "set.csv").write_text("file,dog,puppy\na.png,1,0\n")
    labeled = read_table(tmp_path / "set.csv", None, masks=False)

    assert without_column(labeled, PETS) == ("tabby cat", "bird")
    assert without_column(labeled, ("Dog", "", "puppy")) == ()
    words = "no column for tabby cat, bird, 2 of the network's 3 labels"
    with pytest.raises(LabelsError, match=words):
        check_answers(labeled, PETS, several=True)
    check_answers(labeled, PETS, several=False)  # each image has its one label
    check_answers(labeled, PETS[:2], several=True)


def test_the_images_of_a_table_may_be_elsewhere(tmp_path: Path) -> None:
    put(tmp_path, "photos/a.png")
    (tmp_path / "set.csv").write_text("file,label\na.png,dog\n")
    assert len(read(tmp_path, "set.csv", labeled_images="photos").images) == 1
    with pytest.raises(RecipeError, match=r"1 of 1 images are not there.*--labeled-images"):
        read(tmp_path, "set.csv")


def test_the_limit_keeps_each_class_s_share(tmp_path: Path) -> None:
    put(
        tmp_path / "set",
        *(f"dog/{n}.png" for n in range(20)),
        *(f"bird/{n}.png" for n in range(10)),
    )
    cells = [image.cells[0] for image in read(tmp_path, "set", labeled_limit=6).images]
    assert sorted(cells) == ["bird"] * 2 + ["dog"] * 4


COCO = {
    "images": [
        {"id": 9, "file_name": "b.png", "width": 6, "height": 4},
        {"id": 2, "file_name": "a.png"},
    ],
    "categories": [{"id": 17, "name": "dog"}, {"id": 0, "name": "animals"}],
    "annotations": [
        {"image_id": 9, "category_id": 17, "bbox": [1, 2, 3, 1]},
        {"image_id": 9, "category_id": 17, "bbox": [0, 0, 6, 4], "iscrowd": 1},
    ],
}


@pytest.mark.parametrize(
    ("file", "images", "stated"),
    [
        ("set/_annotations.coco.json", "set", None),
        ("set/boxes.json", "set/images", None),
        ("coco/annotations/instances_val2017.json", "coco/val2017", None),
        ("boxes.json", "photos", "photos"),
    ],
)
def test_coco_annotations_and_where_their_images_are(
    tmp_path: Path, file: str, images: str, stated: str | None
) -> None:
    put(tmp_path / images, "a.png", "b.png")
    (tmp_path / file).parent.mkdir(parents=True, exist_ok=True)
    (tmp_path / file).write_text(json.dumps(COCO))

    proof = {} if stated is None else {"labeled_images": stated}
    first, second = read(tmp_path, file, task="detect", **proof).images

    assert (first.file.name, first.boxes) == ("a.png", ())
    assert second.size == (6, 4)
    assert [(box.name, box.xyxy, box.is_crowd) for box in second.boxes] == [
        ("dog", (1, 2, 4, 3), False),
        ("dog", (0, 0, 6, 4), True),
    ]


def test_a_folder_with_one_coco_file_is_enough(tmp_path: Path) -> None:
    put(tmp_path / "valid", "a.png", "b.png")
    with pytest.raises(RecipeError, match="the folder has none"):
        read(tmp_path, "valid", task="detect")
    (tmp_path / "valid/_annotations.coco.json").write_text(json.dumps(COCO))
    assert len(read(tmp_path, "valid", task="detect").images) == 2


def test_a_category_that_is_no_class_is_refused(tmp_path: Path) -> None:
    put(tmp_path, "a.png", "b.png")
    wolf = {**COCO, "categories": [{"id": 17, "name": "wolf"}]}
    (tmp_path / "set.json").write_text(json.dumps(wolf))
    with pytest.raises(RecipeError, match=r"'wolf'.*no such class"):
        read(tmp_path, "set.json", task="detect")


def test_annotations_without_any_object_are_refused(tmp_path: Path) -> None:
    put(tmp_path, "a.png", "b.png")
    crowds = [{**COCO["annotations"][1], "iscrowd": 1}]
    for annotations in ([], crowds):
        (tmp_path / "set.json").write_text(json.dumps({**COCO, "annotations": annotations}))
        with pytest.raises(
            RecipeError, match=r"set\.json: none of its 2 images has a box .* no mAP"
        ):
            read(tmp_path, "set.json", task="detect")


def test_masks_belong_to_the_images_of_their_names(tmp_path: Path) -> None:
    put(
        tmp_path / "set",
        "images/a.jpg",
        "images/b.png",
        "images/c.png",
        "masks/a.png",
        "masks/b.png",
    )
    pairs = [
        (image.file.name, image.mask and image.mask.name)
        for image in read(tmp_path, "set", task="segment").images
    ]
    assert pairs == [("a.jpg", "a.png"), ("b.png", "b.png")]
    put(tmp_path / "set", "masks/alone.png")
    with pytest.raises(RecipeError, match=r"1 masks have no image.*alone\.png"):
        read(tmp_path, "set", task="segment")


def test_masks_may_be_named_in_a_table(tmp_path: Path) -> None:
    put(tmp_path, "a.jpg", "m/a.png")
    (tmp_path / "set.csv").write_text("image,mask\na.jpg,m/a.png\n")
    (image,) = read(tmp_path, "set.csv", task="segment").images
    assert image.mask == tmp_path / "m/a.png"


@pytest.mark.parametrize(
    ("file", "content", "task", "message"),
    [
        ("absent", None, "classify", "no such folder or file"),
        ("set.png", PIXEL, "classify", r"give a folder, a \.csv"),
        ("set.json", b"{}", "classify", "COCO annotations are for task detect"),
        ("set.csv", b"file,label\na.png,dog\n", "detect", "needs annotations in COCO's form"),
        ("set.csv", b"file,label\nset.csv,dog\n", "embed", "not for embed"),
    ],
)
def test_what_is_no_labeled_set_is_refused_by_name(
    tmp_path: Path, file: str, content: bytes | None, task: str, message: str
) -> None:
    if content is not None:
        (tmp_path / file).write_bytes(content)
    with pytest.raises(RecipeError, match=message):
        read(tmp_path, file, task=task)


def test_an_image_of_two_classes_is_refused_where_only_one_is_possible(tmp_path: Path) -> None:
    put(tmp_path, "a.png")
    (tmp_path / "set.csv").write_text("file,label\na.png,dog\na.png,bird\n")
    labeled = read(tmp_path, "set.csv")
    assert answers(labeled) == {"a.png": ["bird", "dog"]}
    with (
        pytest.raises(RecipeError, match=r"a\.png has the labels .*only one"),
        naming_option("--labeled"),
    ):
        check_answers(labeled, PETS, several=False)
