"""Images with known answers are thinned out evenly, and missing files are counted."""

from pathlib import Path

import pytest

from service.errors import LabelsError
from service.labeled.truth import LabeledImage, LabeledImages, require_files


def numbered(count: int) -> LabeledImages:
    return LabeledImages("set", tuple(LabeledImage(Path(str(index))) for index in range(count)))


@pytest.mark.parametrize(
    ("count", "limit", "kept"),
    [
        (5, 5, [0, 1, 2, 3, 4]),
        (5, 6, [0, 1, 2, 3, 4]),
        (6, 5, [0, 1, 2, 3, 4]),
        (10, 5, [0, 2, 4, 6, 8]),
        (10, 3, [0, 3, 6]),
        (10, 1, [0]),
        (0, 3, []),
    ],
)
def test_at_most_so_many_images_are_kept_evenly(count: int, limit: int, kept: list[int]) -> None:
    some = numbered(count).at_most(limit)

    assert [int(image.file.name) for image in some.images] == kept
    assert some.name == "set"


def test_missing_files_are_counted_and_the_first_is_named(tmp_path: Path) -> None:
    files = [tmp_path / name for name in ("a.png", "b.png", "c.png")]
    files[0].touch()
    (tmp_path / "c.png").mkdir()

    require_files(files[:1], "images")
    require_files([], "images")
    with pytest.raises(
        LabelsError, match=r"2 of 3 images are not there, the first is .*b\.png\. Name their folder"
    ):
        require_files(files, "images")


def test_a_file_is_named_with_its_folder_where_others_have_its_name() -> None:
    files = [Path("set/red/1.png"), Path("set/blue/1.png"), Path("set/red/2.png")]
    labeled = LabeledImages("set", tuple(map(LabeledImage, (*files, files[2]))))
    assert labeled.names() == dict(zip(files, ("red/1.png", "blue/1.png", "2.png"), strict=True))
