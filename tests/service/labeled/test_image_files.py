from pathlib import Path

from PIL import Image

from service.imaging.formats import FORMATS
from service.labeled.image_files import SUFFIXES, image_files


def test_every_ending_of_a_format_that_is_read_is_that_of_an_image() -> None:
    Image.init()
    assert {ending for ending, name in Image.EXTENSION.items() if name in FORMATS} == SUFFIXES


def test_endings_count_in_any_case_and_hidden_files_do_not(tmp_path: Path) -> None:
    for name in ("a.JFIF", "b.txt", ".c.jpg"):
        (tmp_path / name).touch()
    assert image_files(tmp_path) == [tmp_path / "a.JFIF"]


def test_links_to_folders_are_followed_each_folder_once(tmp_path: Path) -> None:
    elsewhere, folder = tmp_path / "elsewhere", tmp_path / "folder"
    elsewhere.mkdir()
    folder.mkdir()
    (elsewhere / "b.jpg").touch()
    (elsewhere / "up").symlink_to(folder)
    (folder / "a.jpg").touch()
    (folder / "gone.jpg").symlink_to("nothing.jpg")
    (folder / "linked").symlink_to(elsewhere)

    assert image_files(folder) == [folder / "a.jpg", folder / "linked/b.jpg"]
