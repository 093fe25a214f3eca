import struct
from pathlib import Path

import onnx
import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import ValidationError

from service.card import Card, CardError, ImageInput, check_certificate, graph_sha256, read_card
from tests.servables import color_card, color_model, write_servable


def test_a_card_comes_back_from_the_file_as_it_was_written(tmp_path: Path) -> None:
    path = write_servable(tmp_path)
    card = read_card(path)
    assert card.labels == ("red", "green", "blue")
    check_certificate(path, card)


def test_writing_the_card_does_not_change_the_graphs_digest(tmp_path: Path) -> None:
    bare = tmp_path / "bare.onnx"
    bare.write_bytes(color_model().SerializeToString())
    assert graph_sha256(write_servable(tmp_path)) == graph_sha256(bare)


def test_a_graph_that_was_changed_after_its_proof_is_refused(tmp_path: Path) -> None:
    path = write_servable(tmp_path)
    model = onnx.load(path)
    model.graph.initializer[0].CopyFrom(
        onnx.helper.make_tensor("scale", onnx.TensorProto.FLOAT, [], [1.0])
    )
    path.write_bytes(model.SerializeToString())
    with pytest.raises(CardError, match="changed after it was proved"):
        check_certificate(path, read_card(path))


def test_a_file_without_a_card_says_how_to_adopt_it(tmp_path: Path) -> None:
    path = tmp_path / "found.onnx"
    path.write_bytes(color_model().SerializeToString())
    with pytest.raises(CardError, match=r"foveal-export onnx:found\.onnx"):
        read_card(path)


def test_a_card_that_is_not_valid_names_its_first_fault(tmp_path: Path) -> None:
    path = write_servable(tmp_path, card=color_card().model_copy(update={"input": None}))
    with pytest.raises(CardError, match="needs an input"):
        read_card(path)


@given(st.binary(max_size=200))
def test_any_bytes_are_either_no_onnx_file_or_have_no_card(
    tmp_path_factory: pytest.TempPathFactory, content: bytes
) -> None:
    path = tmp_path_factory.mktemp("junk") / "model.onnx"
    path.write_bytes(content)
    with pytest.raises(CardError):
        read_card(path)


def test_a_file_that_is_cut_short_is_told_so(tmp_path: Path) -> None:
    path = write_servable(tmp_path)
    whole = path.read_bytes()
    path.write_bytes(whole[: len(whole) // 4])
    with pytest.raises(CardError, match="cut short"):
        graph_sha256(path)


def test_fixed_width_fields_are_stepped_over(tmp_path: Path) -> None:
    path = write_servable(tmp_path)
    path.write_bytes(
        b"\x79" + struct.pack("<d", 1.0) + b"\x7d" + struct.pack("<f", 1.0) + path.read_bytes()
    )
    assert read_card(path).name == "colors"


def test_a_crop_needs_the_side_it_is_cut_from() -> None:
    with pytest.raises(ValidationError, match="shorter_side"):
        ImageInput(height=8, width=8, resize="crop")
    with pytest.raises(ValidationError, match="smaller than the region"):
        ImageInput(height=8, width=8, resize="crop", shorter_side=4)


@pytest.mark.parametrize(
    ("change", "fault"),
    [
        ({"input": None}, "needs an input"),
        ({"input": None, "backbone": "eye"}, "digest of the backbone"),
        ({"input": None, "backbone": "eye", "backbone_sha256": "0" * 64}, "its window"),
        ({"task": "No Task"}, "task"),
        ({"name": "../etc"}, "name"),
        ({"unknown": 1}, "Extra inputs"),
    ],
)
def test_a_card_that_contradicts_itself_is_refused(change: dict[str, object], fault: str) -> None:
    with pytest.raises(ValidationError, match=fault):
        Card.model_validate({**color_card().model_dump(), **change})


def test_a_temporal_card_has_no_image() -> None:
    card = Card.model_validate(
        {
            **color_card().model_dump(),
            "task": "temporal",
            "backbone": "eye",
            "input": None,
            "backbone_sha256": "0" * 64,
            "window": {"frames": 4, "stride": 2, "fps": 2},
        }
    )
    with pytest.raises(CardError, match="not images"):
        _ = card.image_input
