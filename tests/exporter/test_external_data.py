"""A network above protobuf's limit, here with a limit of a few kilobytes: its weights lie beside the graph."""

from pathlib import Path

import httpx
import numpy as np
import onnx
import pytest
from onnx import ModelProto

from exporter.cards import edit_card
from exporter.encoding import as_png
from exporter.external_data import save_split, split
from exporter.writing import graph_digest, write_servable
from service.card import CardError
from service.servable_file import check_certificate, read_card
from tests.exporter.exporting import export_to, outputs_of, some_frames
from tests.exporter.nets import LABELS, SIDE, conv_onnx
from tests.live import serve

LIMIT = 4096


@pytest.fixture(scope="module")
def whole(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A servable in one file."""
    folder = tmp_path_factory.mktemp("whole")
    onnx.save(conv_onnx([-1, len(LABELS) * 16]), folder / "net.onnx")
    labels = [f"label {index}" for index in range(len(LABELS) * 16)]
    return Path(export_to(folder, "onnx:net.onnx", labels=labels).path)


def written_in_two(whole: Path, folder: Path) -> Path:
    """Write the servable again with the limit of this test."""
    model, card = onnx.load(whole), read_card(whole)
    certificate = card.certificate.model_copy(update={"graph_sha256": graph_digest(model, LIMIT)})
    path = folder / "small/1/model.onnx"
    write_servable(path, model, card.model_copy(update={"certificate": certificate}), limit=LIMIT)
    return path


def test_it_is_two_files_in_the_version_s_folder_that_compute_the_same(
    whole: Path, tmp_path: Path
) -> None:
    path = written_in_two(whole, tmp_path)

    assert sorted(file.name for file in path.parent.iterdir()) == ["model.onnx", "model.onnx.data"]
    assert path.stat().st_size < whole.stat().st_size / 2
    check_certificate(path, read_card(path))
    frames = some_frames(3, SIDE)
    for name, value in outputs_of(whole, frames).items():
        np.testing.assert_array_equal(outputs_of(path, frames)[name], value)


def test_references_stay_inside_the_folder(whole: Path, tmp_path: Path) -> None:
    path = written_in_two(whole, tmp_path)
    graph = onnx.load(path, load_external_data=False).graph
    places = {
        entry.value
        for t in graph.initializer
        for entry in t.external_data
        if entry.key == "location"
    }
    assert places == {"model.onnx.data"}


def test_changed_weights_are_found(whole: Path, tmp_path: Path) -> None:
    path = written_in_two(whole, tmp_path)
    data = path.with_name("model.onnx.data")
    content = bytearray(data.read_bytes())
    content[10] ^= 1
    data.write_bytes(content)
    with pytest.raises(CardError, match="the weights were changed after they were proved"):
        check_certificate(path, read_card(path))


def test_missing_weights_are_named(whole: Path, tmp_path: Path) -> None:
    path = written_in_two(whole, tmp_path)
    path.with_name("model.onnx.data").unlink()
    with pytest.raises(CardError, match=r"model\.onnx\.data is missing"):
        check_certificate(path, read_card(path))


def test_an_edited_card_keeps_the_weights(whole: Path, tmp_path: Path) -> None:
    path = written_in_two(whole, tmp_path)
    before = path.with_name("model.onnx.data").read_bytes()
    edit_card(path, ["title=Another"])
    assert read_card(path).title == "Another"
    check_certificate(path, read_card(path))
    assert path.with_name("model.onnx.data").read_bytes() == before


def test_a_write_that_fails_leaves_no_part(whole: Path, tmp_path: Path) -> None:
    path = tmp_path / "1/model.onnx"
    with pytest.raises(CardError, match="changed after it was proved"):
        write_servable(path, onnx.load(whole), read_card(whole), limit=LIMIT)
    assert list(tmp_path.iterdir()) == []


def test_the_service_answers_from_both_files_and_refuses_changed_weights(
    whole: Path, tmp_path: Path
) -> None:
    path = written_in_two(whole, tmp_path)
    body = gray_png()
    with serve(models=tmp_path) as live:
        answer = httpx.post(f"{live.url}/v1/classify", content=body, timeout=30)
        best = answer.json()["results"][0]["predictions"][0]["class_id"]
    assert answer.status_code == 200
    (logits,) = outputs_of(whole, np.full((1, SIDE, SIDE, 3), 90, np.uint8))["logits"]
    assert best == int(logits.argmax())

    data = path.with_name("model.onnx.data")
    data.write_bytes(bytes(len(data.read_bytes())))
    with serve(models=tmp_path) as live:
        assert httpx.post(f"{live.url}/v1/classify", content=body, timeout=30).status_code != 200


def gray_png() -> bytes:
    """Return a plain gray PNG."""
    return as_png(np.full((SIDE, SIDE, 3), 90, np.uint8))


def test_a_split_model_is_read_again_as_it_was(tmp_path: Path) -> None:
    model = conv_onnx([-1, 64])
    again: ModelProto = onnx.load(save_split(model, tmp_path))
    by_name = {t.name: onnx.numpy_helper.to_array(t) for t in again.graph.initializer}
    for tensor in model.graph.initializer:
        np.testing.assert_array_equal(by_name[tensor.name], onnx.numpy_helper.to_array(tensor))
    light, heavy = split(model, "x.data")
    assert {t.name for t in heavy} >= {"w1"}
    assert light.graph.node == model.graph.node
