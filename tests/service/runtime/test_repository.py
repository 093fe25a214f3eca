import os
import threading
from pathlib import Path

import pytest

from service.errors import ConfigurationError
from service.runtime.repository import any_version, entries_of, scan_repository
from tests.full_table import no_free_descriptor
from tests.servables import color_model, write_servable


def test_models_come_by_name_and_ascending_version(tmp_path: Path) -> None:
    for name, version in (("b", 10), ("b", 9), ("a", 1)):
        write_servable(tmp_path, name, version)
    servables, refusals = scan_repository(tmp_path)
    assert [(one.name, one.version) for one in servables] == [("a", 1), ("b", 9), ("b", 10)]
    assert not refusals


def test_the_folder_names_the_model_so_that_a_rename_renames_it(tmp_path: Path) -> None:
    write_servable(tmp_path, "renamed")
    ((one,), _) = scan_repository(tmp_path)
    assert (one.name, one.card.name) == ("renamed", "colors")


@pytest.mark.parametrize(
    ("name", "version", "reason"),
    [
        ("Cat", 1, "can not name a model"),
        ("cat", "one", "not a version"),
        ("cat", "01", "does not begin with 0"),
        ("cat", 0, "not a version"),
    ],
)
def test_a_folder_that_can_not_be_a_model_is_refused_with_the_reason(
    tmp_path: Path, name: str, version: int | str, reason: str
) -> None:
    write_servable(tmp_path, name, version)
    servables, (refusal,) = scan_repository(tmp_path)
    assert not servables
    assert reason in refusal.reason


def test_a_folder_in_the_place_of_a_file_is_refused_in_plain_words(tmp_path: Path) -> None:
    (tmp_path / "cat" / "1" / "model.onnx").mkdir(parents=True)
    servables, (refusal,) = scan_repository(tmp_path)
    assert not servables
    assert refusal.reason.endswith("model.onnx: it can not be read: Is a directory")


def test_a_file_without_a_card_is_refused_and_the_others_are_kept(tmp_path: Path) -> None:
    write_servable(tmp_path, "good")
    bare = tmp_path / "bare" / "1" / "model.onnx"
    bare.parent.mkdir(parents=True)
    bare.write_bytes(color_model().SerializeToString())
    (good,), (refusal,) = scan_repository(tmp_path)
    assert good.name == "good"
    assert "foveal-export" in refusal.reason


def test_a_missing_folder_is_refused_with_the_setting_that_names_it(tmp_path: Path) -> None:
    with pytest.raises(ConfigurationError, match="FOVEAL_MODELS"):
        scan_repository(tmp_path / "nowhere")


def test_a_model_is_not_gone_while_no_file_can_be_opened(tmp_path: Path) -> None:
    write_servable(tmp_path, "cat")
    with no_free_descriptor():
        with pytest.raises(OSError, match="Too many open files"):
            entries_of(tmp_path / "cat")
        with pytest.raises(ConfigurationError, match=r"can not be read: Too many open files"):
            scan_repository(tmp_path)
    ((one,), _) = scan_repository(tmp_path)
    assert one.name == "cat"
    assert entries_of(tmp_path / "none") == []


def placed(root: Path, name: str = "odd") -> Path:
    path = root / name / "1" / "model.onnx"
    path.parent.mkdir(parents=True)
    return path


def refused(root: Path, path: Path) -> str:
    """Return why the file is refused, beside one that is kept."""
    write_servable(root, "good")
    (good,), (refusal,) = scan_repository(root)
    assert (good.name, refusal.name, refusal.path) == ("good", path.parent.parent.name, path)
    assert str(path) in refusal.reason
    return refusal.reason


@pytest.mark.skipif(not hasattr(os, "mkfifo"), reason="this system has no named pipes")
def test_a_named_pipe_is_refused_and_not_waited_for(tmp_path: Path) -> None:
    path = placed(tmp_path)
    os.mkfifo(path)
    assert "no regular file" in refused(tmp_path, path)


def test_a_link_to_a_device_without_an_end_is_refused(tmp_path: Path) -> None:
    path = placed(tmp_path)
    path.symlink_to("/dev/zero")
    assert "no regular file" in refused(tmp_path, path)


def test_a_folder_with_the_name_of_the_file_is_refused(tmp_path: Path) -> None:
    path = placed(tmp_path)
    path.mkdir()
    assert "Is a directory" in refused(tmp_path, path)


@pytest.mark.parametrize(
    ("target", "reason"),
    [("nowhere.onnx", "No such file"), ("model.onnx", "symbolic links")],
    ids=["to nothing", "to itself"],
)
def test_a_link_that_leads_nowhere_is_refused_and_not_ignored(
    tmp_path: Path, target: str, reason: str
) -> None:
    path = placed(tmp_path)
    path.symlink_to(target)
    assert reason in refused(tmp_path, path)


def test_a_folder_that_can_not_be_read_is_refused_and_one_that_holds_no_model_is_ignored(
    tmp_path: Path,
) -> None:
    write_servable(tmp_path, "good")
    for name in ("cat", "lost+found"):
        (tmp_path / name).symlink_to(name)
    (good,), (refusal,) = scan_repository(tmp_path)
    assert good.name == "good"
    assert (refusal.name, refusal.path) == ("cat", any_version(tmp_path / "cat"))
    assert refusal.reason.endswith("can not be read: Too many levels of symbolic links")


def test_folders_that_are_links_to_nothing_are_refused_and_those_that_name_no_model_are_ignored(
    tmp_path: Path,
) -> None:
    write_servable(tmp_path, "good")
    for name in ("cat", "lost+found", "good/2", "good/latest"):
        (tmp_path / name).symlink_to("nowhere")
    (good,), refusals = scan_repository(tmp_path)
    assert (good.name, good.version) == ("good", 1)
    found = {one.name: one for one in refusals}
    assert found.keys() == {"cat", "good"}
    assert found["cat"].path == any_version(tmp_path / "cat")
    assert found["good"].path == tmp_path / "good" / "2" / "model.onnx"
    assert found["cat"].reason.startswith(f"{tmp_path / 'cat'} is a link that leads nowhere")
    assert found["good"].reason.startswith(f"{found['good'].path}: its folder is a link that leads")


def test_a_link_to_a_servable_is_followed(tmp_path: Path) -> None:
    path = placed(tmp_path / "models", "linked")
    path.symlink_to(write_servable(tmp_path / "elsewhere"))
    (servable,), refusals = scan_repository(tmp_path / "models")
    assert (servable.name, refusals) == ("linked", ())


def test_folders_without_the_file_are_no_models(tmp_path: Path) -> None:
    (tmp_path / "empty" / "1").mkdir(parents=True)
    (tmp_path / "file").mkdir()
    (tmp_path / "file" / "notes.txt").write_text("no folder")
    assert scan_repository(tmp_path) == ((), ())


def test_a_name_that_is_no_text_can_be_shown(tmp_path: Path) -> None:
    try:
        path = placed(tmp_path, os.fsdecode(b"b\xff\x1b\nad"))
    except OSError:
        pytest.skip("this file system has names of text only")
    path.write_bytes(b"")
    _, (refusal,) = scan_repository(tmp_path)
    assert refusal.name == r"b\udcff\x1b\nad"
    assert refusal.reason.encode()
    assert refusal.reason.isprintable()


def test_folders_may_come_and_go_while_they_are_read(tmp_path: Path) -> None:
    """A folder that was listed and is gone a moment later ended every second reading."""
    write_servable(tmp_path, "kept")
    over = threading.Event()

    def storm() -> None:
        while not over.is_set():
            for number in range(100):
                (tmp_path / f"m{number}").mkdir()
            for number in range(100):
                (tmp_path / f"m{number}").rmdir()

    thread = threading.Thread(target=storm)
    thread.start()
    try:
        for _ in range(100):
            ((one,), refusals) = scan_repository(tmp_path)
            assert (one.name, refusals) == ("kept", ())
    finally:
        over.set()
        thread.join()
