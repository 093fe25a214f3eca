"""A servable is written whole or not at all."""

from pathlib import Path

import pytest

from exporter.errors import WriteError
from exporter.writing import graph_digest, next_version, write_servable
from service.card import check_certificate, graph_sha256, read_card
from tests.servables import color_card, color_model


def test_the_digest_is_the_one_the_service_reads(tmp_path: Path) -> None:
    model = color_model()
    path = tmp_path / "colors/1/model.onnx"

    write_servable(path, model, color_card(digest=graph_digest(model)))

    assert graph_sha256(path) == graph_digest(model)
    check_certificate(path, read_card(path))


def test_a_card_of_another_graph_is_never_put_in_place(tmp_path: Path) -> None:
    path = tmp_path / "1/model.onnx"
    with pytest.raises(ValueError, match="changed after it was proved"):
        write_servable(path, color_model(), color_card())
    assert list(path.parent.iterdir()) == []


def test_a_place_that_can_not_be_written_is_named(tmp_path: Path) -> None:
    (tmp_path / "1").write_text("a file where the folder goes")
    model = color_model()
    with pytest.raises(WriteError, match=r"model\.onnx can not be written"):
        write_servable(tmp_path / "1/model.onnx", model, color_card(digest=graph_digest(model)))


def test_no_space_is_said_and_leaves_nothing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def full(_path: Path) -> object:
        return type("Usage", (), {"free": 10})()

    monkeypatch.setattr("shutil.disk_usage", full)
    model = color_model()
    with pytest.raises(WriteError, match="are needed"):
        write_servable(tmp_path / "1/model.onnx", model, color_card(digest=graph_digest(model)))
    assert list((tmp_path / "1").iterdir()) == []


def test_a_new_version_is_one_more_than_the_last(tmp_path: Path) -> None:
    for version in ("1", "10", "notes"):
        (tmp_path / version).mkdir()
    assert next_version(tmp_path) == tmp_path / "11/model.onnx"
