import hashlib
import json
import struct
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import ValidationError

from service.card import (
    CARD_KEY,
    Card,
    CardError,
    Digest,
    ImageInput,
    check_certificate,
    graph_sha256,
    read_card,
)
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


@pytest.mark.parametrize("digest", [1, 2])
def test_operator_sets_that_were_changed_after_the_proof_are_refused_where_the_digest_covers_them(
    tmp_path: Path, digest: Digest
) -> None:
    path = write_servable(tmp_path)
    card = read_card(path)
    proof = {"digest": digest, "graph_sha256": graph_sha256(path, digest)}
    card = card.model_copy(update={"certificate": card.certificate.model_copy(update=proof)})
    check_certificate(path, card)
    model = onnx.load(path)
    model.opset_import[0].version = 13
    path.write_bytes(model.SerializeToString())
    if digest == 1:  # files from before the digest covered them stay valid
        check_certificate(path, card)
        return
    with pytest.raises(CardError, match="changed after it was proved"):
        check_certificate(path, card)


def test_the_second_kind_of_digest_names_each_part_with_its_length(tmp_path: Path) -> None:
    model = color_model()
    path = tmp_path / "model.onnx"
    path.write_bytes(model.SerializeToString())
    wanted = hashlib.sha256()
    [opset] = model.opset_import
    for number, part in ((7, model.graph), (8, opset)):
        text = part.SerializeToString()
        wanted.update(number.to_bytes(8) + len(text).to_bytes(8) + text)
    assert graph_sha256(path, 2) == wanted.hexdigest()


def test_a_function_that_was_added_after_the_proof_is_refused(tmp_path: Path) -> None:
    path = write_servable(tmp_path)
    model = onnx.load(path)
    node = onnx.helper.make_node("Neg", ["x"], ["y"])
    opset = [onnx.helper.make_opsetid("", 17)]
    model.functions.append(onnx.helper.make_function("own", "Exp", ["x"], ["y"], [node], opset))
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


def test_the_card_is_found_among_other_metadata(tmp_path: Path) -> None:
    path = write_servable(tmp_path)
    model = onnx.load(path)
    kept = model.metadata_props[0].value
    del model.metadata_props[:]
    for key, value in (("author", "somebody"), (CARD_KEY, kept), ("foveal.note", "{}")):
        model.metadata_props.add(key=key, value=value)
    path.write_bytes(model.SerializeToString())
    assert read_card(path).name == "colors"


def test_the_digest_is_that_of_the_serialized_graph(tmp_path: Path) -> None:
    model = color_model()
    weights = np.random.default_rng(1).normal(size=400_000).astype(np.float32)  # over 1 MiB
    model.graph.initializer.append(onnx.numpy_helper.from_array(weights, "ballast"))
    path = tmp_path / "model.onnx"
    path.write_bytes(model.SerializeToString())
    assert graph_sha256(path) == hashlib.sha256(model.graph.SerializeToString()).hexdigest()


@pytest.mark.parametrize(
    ("head", "fault"),
    [
        (b"\x0b", "does not parse"),  # field 1 of wire type 3, a group
        (b"\xff" * 12, "has no end"),
        (b"\x80" * 10 + b"\x00", "has no end"),
        (b"\x80" * 9 + b"\x00", "carries no card"),  # a number of ten bytes, the longest
    ],
)
def test_bytes_that_are_no_protobuf_are_named_so(tmp_path: Path, head: bytes, fault: str) -> None:
    path = tmp_path / "model.onnx"
    path.write_bytes(head)
    with pytest.raises(CardError, match=fault):
        read_card(path)


def test_a_card_that_is_no_json_is_named_so(tmp_path: Path) -> None:
    path = tmp_path / "model.onnx"
    model = color_model()
    onnx.helper.set_model_props(model, {CARD_KEY: "{"})
    path.write_bytes(model.SerializeToString())
    with pytest.raises(CardError, match="the card is not valid: card: Invalid JSON"):
        read_card(path)


def test_a_fault_deep_in_a_card_is_named_by_its_place(tmp_path: Path) -> None:
    path = tmp_path / "model.onnx"
    model = color_model()
    dump = color_card().model_dump(mode="json")
    onnx.helper.set_model_props(model, {CARD_KEY: json.dumps({**dump, "cost": {"macs": 1}})})
    path.write_bytes(model.SerializeToString())
    with pytest.raises(CardError, match=r"the card is not valid: cost\.parameters: Field required"):
        read_card(path)


@pytest.mark.parametrize(
    ("place", "allowed", "refused"),
    [
        ("input.height", (1, 16384), (0, 16385)),
        ("input.width", (1, 16384), (0, 16385)),
        ("input.pad_color.1", (0, 255), (-1, 256)),
        ("cost.parameters", (0, 10**12), (-1,)),
        ("cost.macs", (0, 10**15), (-1,)),
        ("cost.activation_bytes", (0,), (-1,)),
        ("certificate.max_difference", (0, 2.5), (-0.1,)),
        ("certificate.tolerance", (1e-9,), (0,)),
        ("certificate.agreement", (0, 1), (-0.01, 1.01)),
        ("certificate.images", (0,), (-1,)),
        ("certificate.graph_sha256", ("f" * 64,), ("f" * 63, "f" * 65, "F" * 64)),
        ("backbone_sha256", ("0" * 64, None), ("0" * 63, "g" * 64)),
        ("max_batch", (1, None), (0,)),
        ("stages.0.channels", (1,), (0,)),
        ("stages.0.stride", (0.5,), (0,)),
        ("window.frames", (2, 1024), (1, 1025)),
        ("window.stride", (1, 1024), (0, 1025)),
        ("window.fps", (0.1, 240), (0, 241)),
        ("name", ("a", "a" * 64, "0.b_c-d"), ("", "a" * 65, "-a", "A")),
        ("format", (1,), (2,)),
        ("precision", ("fp32", "fp16", "int8"), ("fp8",)),
    ],
)
def test_a_card_holds_every_number_and_name_to_its_range(
    place: str, allowed: tuple[object, ...], refused: tuple[object, ...]
) -> None:
    for value in allowed:
        Card.model_validate(card_with(place, value))
    for value in refused:
        with pytest.raises(ValidationError, match=place.split(".", maxsplit=1)[0]):
            Card.model_validate(card_with(place, value))


def card_with(place: str, value: object) -> dict[str, Any]:
    """Return a card as JSON, with a value at `place`, names and numbers joined by dots."""
    card: dict[str, Any] = color_card().model_dump(mode="json")
    card["stages"] = [{"name": "s", "tensor": "t", "channels": 8, "stride": 2}]
    card["window"] = {"frames": 4, "stride": 2, "fps": 2}
    inner: Any = card
    *way, last = [int(part) if part.isdecimal() else part for part in place.split(".")]
    for part in way:
        inner = inner[part]
    inner[last] = value
    return card


def test_a_card_can_not_be_changed() -> None:
    with pytest.raises(ValidationError, match="frozen"):
        color_card().name = "other"  # type: ignore[misc]


def test_defaults_are_those_of_most_networks() -> None:
    given = ImageInput(height=8, width=6, shorter_side=8)
    assert (given.resize, given.interpolation, given.pad_color) == ("crop", "bilinear", (114,) * 3)
    card = color_card()
    assert (card.format, card.precision, card.multi_label, card.scores) == (1, "fp32", False, {})
    assert (card.background_id, card.max_batch, card.stages, card.window) == (None, None, (), None)


def test_an_image_input_is_what_the_card_says() -> None:
    assert color_card().image_input == color_card().input


def test_a_file_that_is_cut_short_is_named_so(tmp_path: Path) -> None:
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
    for height, width in ((8, 4), (4, 8)):
        ImageInput(height=height, width=width, resize="crop", shorter_side=8)
        with pytest.raises(ValidationError, match="smaller than the region"):
            ImageInput(height=height, width=width, resize="crop", shorter_side=7)


@pytest.mark.parametrize("resize", ["stretch", "letterbox"])
def test_only_a_crop_needs_a_side(resize: Any) -> None:
    assert ImageInput(height=8, width=8, resize=resize).shorter_side is None


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


def announcing(field: int, length: int) -> bytes:
    """Return the tag of a length-delimited field and its length as protobuf writes them, without a payload."""
    written = bytes([field << 3 | 2])
    while length > 127:
        written += bytes([length & 127 | 128])
        length >>= 7
    return written + bytes([length])


@pytest.mark.parametrize("length", [1, 1000, 2**31, 2**39, 2**63 - 1, 2**64 - 1])
@pytest.mark.parametrize("field", [7, 14])
def test_a_length_is_never_taken_at_its_word(tmp_path: Path, field: int, length: int) -> None:
    path = tmp_path / "model.onnx"
    path.write_bytes(announcing(field, length))
    for read in (read_card, graph_sha256):
        with pytest.raises(CardError, match="cut short"):
            read(path)


def test_a_length_inside_metadata_is_never_taken_at_its_word(tmp_path: Path) -> None:
    path = tmp_path / "model.onnx"
    entry = announcing(1, 2**39)
    path.write_bytes(announcing(14, len(entry)) + entry)
    with pytest.raises(CardError, match="cut short"):
        read_card(path)


def test_metadata_too_long_for_a_card_is_skipped_without_being_read(tmp_path: Path) -> None:
    path = write_servable(tmp_path)
    card = path.read_bytes()
    with path.open("wb") as file:
        file.write(announcing(14, 2**33))
        file.seek(2**33, 1)  # a hole: the file takes no space
        file.write(card)
    assert read_card(path).labels == ("red", "green", "blue")


def test_fields_without_an_end_are_given_up(tmp_path: Path) -> None:
    path = tmp_path / "model.onnx"
    path.write_bytes(b"\x08\x01" * 20_000_000)
    with pytest.raises(CardError, match="100000 fields"):
        read_card(path)
