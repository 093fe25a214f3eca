"""A table names images with their labels or masks."""

from pathlib import Path

import pytest

from service.errors import LabelsError
from service.labeled.table import read_table


def put(folder: Path, *names: str) -> None:
    for name in names:
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).touch()


def read(folder: Path, text: str) -> dict[str, tuple[str, ...]]:
    """Return the cells of each image in a table."""
    (folder / "set.csv").write_bytes(text.encode())
    found = read_table(folder / "set.csv", None, masks=False)
    assert found.name == "set.csv"
    return {str(image.file.relative_to(folder)): image.cells for image in found.images}


@pytest.mark.parametrize(
    "text",
    [
        "file,label\na.png,dog\nx/b.png,bird\n",
        "\ufeffPATH;Category\r\na.png;dog\r\n\r\nx/b.png;bird\r\n",
        "class\timg\ndog\ta.png\nbird\tx/b.png\n",
        "a.png,dog\nx/b.png,bird",
        "photo,kind\na.png,dog\nx/b.png,bird\n",
        'id,filename,target\n7, "a.png" ,dog\n8,x/b.png, bird\n',
        'label,file,more\n"dog",a.png,"1,2"\nbird,x/b.png,3\n',
        'file, label\n"a.png", "dog"\nx/b.png, bird\n',
        "id,image_path,label\n3,a.png,dog\n4,x/b.png,bird\n",
        # Columns of other names: the one with images has the files, and one that counts has no labels.
        "id,photo,kind\n3,a.png,dog\n4,x/b.png,bird\n",
        ",photo,kind\n0,a.png,dog\n1,x/b.png,bird\n",
        "kind,photo\ndog,a.png\nbird,x/b.png\n",
        "dog,a.png\nbird,x/b.png\n",
        "0,a.png,dog\n1,x/b.png,bird\n",
        "fold,photo,kind\n3,a.png,dog\n4,x/b.png,bird\n",
        "file,target,label_name\na.png,2,dog\nx/b.png,1,bird\n",
        # One more column of 0 and 1 is not one for each label.
        "file,label,is_good\na.png,dog,1\nx/b.png,bird,0\n",
    ],
)
def test_files_and_labels_are_found_by_the_names_of_their_columns(
    text: str, tmp_path: Path
) -> None:
    put(tmp_path, "a.png", "x/b.png")

    assert read(tmp_path, text) == {"a.png": ("dog",), "x/b.png": ("bird",)}


def test_the_rows_of_a_file_are_joined_and_images_are_sorted_by_label(tmp_path: Path) -> None:
    put(tmp_path, "a.png", "b.png")

    found = read(tmp_path, "file,label\na.png,dog\nb.png,bird\na.png,cat\n")

    assert list(found.items()) == [("b.png", ("bird",)), ("a.png", ("dog", "cat"))]


def test_a_file_that_is_written_in_two_ways_is_one_image(tmp_path: Path) -> None:
    put(tmp_path, "x/a.png")

    assert read(tmp_path, "file,label\nx/a.png,dog\n./x//a.png,cat\n") == {
        "x/a.png": ("dog", "cat")
    }


def test_an_image_with_two_masks_is_refused(tmp_path: Path) -> None:
    put(tmp_path, "a.png", "1.png", "2.png")
    table = tmp_path / "set.csv"

    table.write_text("file,mask\na.png,1.png\na.png,./1.png\n")
    assert [one.mask for one in read_table(table, None, masks=True).images] == [tmp_path / "1.png"]
    table.write_text("file,mask\na.png,1.png\na.png,2.png\n")
    with pytest.raises(LabelsError, match=r"a\.png has the masks 1\.png, 2\.png.*only one"):
        read_table(table, None, masks=True)


@pytest.mark.parametrize(
    ("text", "cells"),
    [
        ("file,cat,dog,bird\na.png,0,1,1\nb.png,0,0,0\n", {"a.png": ("dog", "bird"), "b.png": ()}),
        ("cat,file,dog\n1,a.png,1\n0,b.png,0\n", {"a.png": ("cat", "dog"), "b.png": ()}),
        ("id,file,dog,cat\n1,a.png,1,0\n0,b.png,0,0\n", {"a.png": ("dog",), "b.png": ()}),
        ("file,cat,dog\na.png,0.0,1.0\nb.png,False,True\n", {"a.png": ("dog",), "b.png": ("dog",)}),
        ("file,cat\na.png,1\nb.png,0\n", {"a.png": ("1",), "b.png": ("0",)}),
        (",file,cat,dog\n0,a.png,0,1\n1,b.png,0,0\n", {"a.png": ("dog",), "b.png": ()}),
        ("file,cat,dog\na.png,0,1\nb.png,2,0\n", {"a.png": ("0",), "b.png": ("2",)}),
    ],
)
def test_a_column_for_each_label_holds_0_or_1_alone(
    text: str, cells: dict[str, tuple[str, ...]], tmp_path: Path
) -> None:
    put(tmp_path, "a.png", "b.png")

    assert read(tmp_path, text) == cells


def test_masks_are_beside_the_table_and_images_may_be_elsewhere(tmp_path: Path) -> None:
    put(tmp_path, "photos/a.jpg", "set/m/a.png")
    table = tmp_path / "set/set.csv"
    table.write_text("image,mask\na.jpg,m/a.png\n")

    (image,) = read_table(table, tmp_path / "photos", masks=True).images

    assert (image.file, image.mask) == (tmp_path / "photos/a.jpg", tmp_path / "set/m/a.png")
    assert image.cells == ()
    with pytest.raises(LabelsError, match="1 of 1 images are not there"):
        read_table(table, None, masks=True)
    (tmp_path / "set/m/a.png").unlink()
    with pytest.raises(LabelsError, match=r"1 of 1 masks are not there, the first is .*a\.png"):
        read_table(table, tmp_path / "photos", masks=True)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("", "the table is empty"),
        (" \n\r\n", "the table is empty"),
        ("file\na.png\n", "row 1 has 1 columns, at least 2 are needed: file and label"),
        ("file,label,more\na.png,dog,1\na.png,dog\n", "row 3 has 2 columns, at least 3 are"),
        ("file,label\n", "there are no rows below the first one"),
        ("7,a.png,1\n", r"2 columns of numbers and no headings.* such as file,label"),
        ("a.jpg,dog\n", r"1 of 1 images are not there, the first is .*a\.jpg"),
        ("file,label\nb.png,dog\n", r"1 of 1 images are not there, the first is .*b\.png"),
    ],
)
def test_what_is_no_table_of_images_is_refused(text: str, message: str, tmp_path: Path) -> None:
    put(tmp_path, "a.png")

    with pytest.raises(LabelsError, match=message):
        read(tmp_path, text)


def test_a_table_in_another_encoding_is_refused(tmp_path: Path) -> None:
    (tmp_path / "set.csv").write_bytes("file,label\na,é".encode("latin-1"))

    with pytest.raises(LabelsError, match=r"set\.csv: the table must be in UTF-8"):
        read_table(tmp_path / "set.csv", None, masks=False)


def test_paths_as_windows_writes_them_name_the_files(tmp_path: Path) -> None:
    put(tmp_path, "a.png", "x/b.png")

    assert read(tmp_path, "file,label\n.\\a.png,dog\nx\\b.png,bird\n") == {
        "a.png": ("dog",),
        "x/b.png": ("bird",),
    }


def test_masks_may_have_such_paths_too(tmp_path: Path) -> None:
    put(tmp_path, "x/b.png", "masks/b.png")
    (tmp_path / "set.csv").write_text("file,mask\nx\\b.png,masks\\b.png\n", encoding="utf-8")

    found = read_table(tmp_path / "set.csv", None, masks=True)

    assert [(one.file, one.mask) for one in found.images] == [
        (tmp_path / "x/b.png", tmp_path / "masks/b.png")
    ]
