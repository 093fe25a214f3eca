import hashlib
import json
import struct
from pathlib import Path

import numpy as np
import onnx
import pytest
from hypothesis import given
from hypothesis import strategies as st

from service.card import CARD_KEY, CardError, Digest
from service.servable_file import check_certificate, graph_sha256, read_card
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
