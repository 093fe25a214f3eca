"""What admin calls may change of the models' files."""

import os
from pathlib import Path

import pytest

from service.errors import RefusedModelError
from service.storage.folder import FolderStorage
from service.storage.repository_folder import RepositoryFolder


@pytest.mark.parametrize("read_only", ["colors", "colors/1"])
def test_a_version_that_can_not_be_removed_is_refused_before_anything_is_done(
    tmp_path: Path, read_only: str
) -> None:
    (tmp_path / "colors" / "1").mkdir(parents=True)
    folder = RepositoryFolder(
        FolderStorage(tmp_path), access=lambda path, _mode: path != tmp_path / read_only
    )
    with pytest.raises(
        RefusedModelError, match=r"Nothing was changed\. Send the call without file"
    ):
        folder.require_removable("colors", 1)


def test_a_version_of_a_folder_that_can_be_written_may_be_removed(tmp_path: Path) -> None:
    (tmp_path / "colors" / "1").mkdir(parents=True)
    asked: list[int] = []

    def access(_path: Path, mode: int) -> bool:
        asked.append(mode)
        return True

    RepositoryFolder(FolderStorage(tmp_path), access).require_removable("colors", 1)
    assert asked == [os.W_OK | os.X_OK] * 2


def test_a_version_without_a_folder_is_left_to_the_registry(tmp_path: Path) -> None:
    RepositoryFolder(FolderStorage(tmp_path)).require_removable("colors", 1)
