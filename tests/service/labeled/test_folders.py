"""A folder for each class, or masks beside images."""

from pathlib import Path

import pytest

from service.errors import LabelsError
from service.labeled.folders import read_class_folders, read_mask_folders, read_masks
from service.labeled.truth import LabeledImage, LabeledImages


def put(folder: Path, *names: str) -> None:
    for name in names:
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).touch()


def test_the_folder_of_an_image_is_its_class(tmp_path: Path) -> None:
    put(tmp_path, "dog/b.png", "dog/deep/a.jpg", "cat/c.jpeg", "cat/notes.txt", "top.png", ".git/d.png")  # fmt: skip

    found = read_class_folders(tmp_path)

    assert found == LabeledImages(
        tmp_path.name,
        (
            LabeledImage(tmp_path / "cat/c.jpeg", ("cat",)),
            LabeledImage(tmp_path / "dog/b.png", ("dog",)),
            LabeledImage(tmp_path / "dog/deep/a.jpg", ("dog",)),
        ),
    )


def test_a_folder_without_folders_or_with_empty_ones_is_refused(tmp_path: Path) -> None:
    put(tmp_path, "a.png", ".hidden/a.png")
    with pytest.raises(LabelsError, match=r"there is no folder in it\. Make one for each class"):
        read_class_folders(tmp_path)
    put(tmp_path, "dog/a.png", "cat/notes.txt", "bird/notes.txt")
    with pytest.raises(
        LabelsError, match=r"no image in bird, cat\. Put .* or remove these folders$"
    ):
        read_class_folders(tmp_path)


def test_the_parts_of_a_set_are_no_classes(tmp_path: Path) -> None:
    for part in ("train", "val"):
        put(tmp_path / part, "cat/a.png", "dog/b.png")

    with pytest.raises(
        LabelsError, match=r"train, val are parts of a set.*Give one of them: .*val$"
    ):
        read_class_folders(tmp_path)

    assert len(read_class_folders(tmp_path / "val").images) == 2


def test_a_mask_belongs_to_the_image_of_its_name(tmp_path: Path) -> None:
    put(tmp_path, "images/a.jpg", "images/b.png", "images/c.png")
    put(tmp_path, "masks/b.png", "masks/a.png", "masks/a.txt")

    found = read_mask_folders(tmp_path, None)

    assert found == LabeledImages(
        tmp_path.name,
        (
            LabeledImage(tmp_path / "images/a.jpg", mask=tmp_path / "masks/a.png"),
            LabeledImage(tmp_path / "images/b.png", mask=tmp_path / "masks/b.png"),
        ),
    )


def test_what_macos_writes_beside_files_is_neither_class_nor_mask(tmp_path: Path) -> None:
    put(tmp_path / "a", "dog/a.png", "dog/._a.png", "__MACOSX/dog/._a.png", "__MACOSX/._dog")
    assert [one.cells for one in read_class_folders(tmp_path / "a").images] == [("dog",)]

    put(tmp_path / "b", "images/a.jpg", "images/._a.jpg", "masks/a.png", "masks/._a.png")
    masks = [tmp_path / "b/masks/a.png"]
    assert [one.mask for one in read_mask_folders(tmp_path / "b", None).images] == masks
    assert [one.mask for one in read_masks(tmp_path / "b").images] == masks


def test_the_images_of_masks_may_be_elsewhere(tmp_path: Path) -> None:
    put(tmp_path, "set/masks/a.png", "photos/a.jpg", "set/images/a.png")

    (image,) = read_mask_folders(tmp_path / "set", tmp_path / "photos").images

    assert image.file == tmp_path / "photos/a.jpg"


def test_masks_must_be_there_and_have_an_image_each(tmp_path: Path) -> None:
    put(tmp_path, "images/a.jpg", "masks/a.jpg")
    with pytest.raises(LabelsError, match=r"task segment needs the folder masks in it"):
        read_mask_folders(tmp_path, None)
    put(tmp_path, "masks/a.png", "masks/c.png", "masks/b.png")
    with pytest.raises(
        LabelsError, match=r"2 masks have no image of the same name in images, the first is b\.png"
    ):
        read_mask_folders(tmp_path, None)


def test_a_mask_that_may_belong_to_two_images_is_refused(tmp_path: Path) -> None:
    put(tmp_path, "images/a/1.jpg", "images/b/1.jpg", "images/2.jpg", "images/c/3.jpg")
    put(tmp_path, "images/d/3.jpg", "masks/2.png")
    assert len(read_mask_folders(tmp_path, None).images) == 1

    put(tmp_path, "masks/1.png")
    with pytest.raises(LabelsError, match=r"mask 1\.png may belong to .*a/1\.jpg or .*b/1\.jpg"):
        read_mask_folders(tmp_path, None)


def test_masks_below_the_folder_of_the_images_are_no_images(tmp_path: Path) -> None:
    put(tmp_path, "images/1.jpg", "masks/1.png")

    (image,) = read_mask_folders(tmp_path / "masks", tmp_path).images

    assert image.file == tmp_path / "images/1.jpg"


def test_a_part_of_a_set_alone_is_no_class(tmp_path: Path) -> None:
    put(tmp_path, "train/cat/a.png", "train/dog/b.png")

    with pytest.raises(LabelsError, match=r"its folder train is a part of a set.*Give one of them"):
        read_class_folders(tmp_path)


def test_a_class_with_the_name_of_a_part_has_images_and_no_folders(tmp_path: Path) -> None:
    put(tmp_path, "test/a.png")

    assert [one.cells for one in read_class_folders(tmp_path).images] == [("test",)]


def test_masks_that_are_jpeg_are_refused_since_they_have_other_values(tmp_path: Path) -> None:
    put(tmp_path, "images/a.png", "masks/a.jpg")

    with pytest.raises(
        LabelsError, match=r"masks holds a\.jpg, and only PNG are read.*write the masks as PNG"
    ):
        read_mask_folders(tmp_path, None)
