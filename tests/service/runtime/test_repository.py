from pathlib import Path

import pytest

from service.errors import ConfigurationError
from service.runtime.repository import scan_repository
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
