"""The bytes between the service and a decoder process, written out by hand: little-endian, without padding."""

import json
import math
import struct

import pytest

from service.imaging.decode import Limits
from service.imaging.isolated.messages import (
    MOST_TEXT,
    NOTE_LENGTHS,
    NOTES,
    REPLY,
    REQUEST,
    Kind,
    Reply,
    Request,
    limits_text,
    read_limits,
    read_refusal,
    refusal,
)


def test_the_head_of_a_request_has_33_bytes_and_the_texts_behind_it() -> None:
    request = Request(Kind.FRAME, b"image", b"target", 0x0102030405060708, b"limits!", 1.5)
    assert request.head() == (
        b"\x01"
        + bytes([8, 7, 6, 5, 4, 3, 2, 1])
        + struct.pack("<d", 1.5)
        + b"\x07\0\0\0"
        + b"\x06\0\0\0"
        + b"\x05\0\0\0\0\0\0\0"
        + b"limits!target"
    )
    assert REQUEST.size == 33


def test_a_request_without_a_limit_of_time_has_all_of_it() -> None:
    request = Request(Kind.ANNOUNCED, b"", b"", 0, b"")
    assert request.seconds == math.inf
    assert struct.unpack("<d", request.head()[9:17]) == (math.inf,)


def test_an_image_is_not_shown_with_its_request() -> None:
    assert "secret" not in repr(Request(Kind.IMAGE, b"secret", b"", 0, b""))


def test_the_numbers_of_kinds_and_replies_are_those_of_the_protocol() -> None:
    assert [(kind.name, kind.value) for kind in Kind] == [
        ("FRAME", 1),
        ("IMAGE", 2),
        ("ANNOUNCED", 3),
    ]
    assert [reply.name for reply in sorted(Reply)] == [
        "READY", "PIXELS", "COUNT", "REFUSED", "FAILED", "LATE"
    ]  # fmt: skip
    assert [reply.value for reply in sorted(Reply)] == [1, 2, 3, 4, 5, 6]
    assert REPLY.pack(2, 3, 4) == b"\x02\x03\0\0\0\0\0\0\0\x04\0\0\0\0\0\0\0"
    assert NOTE_LENGTHS.pack(1, 2) == b"\x01\0\0\0\0\0\0\0\x02\0\0\0\0\0\0\0"
    assert NOTES == ("icc_profile", "comment")


def test_a_refusal_is_its_code_and_its_detail() -> None:
    text = refusal("broken_image", "It is damaged: ä “quoted”.")
    assert json.loads(text) == ["broken_image", "It is damaged: ä “quoted”."]
    assert read_refusal(text) == ("broken_image", "It is damaged: ä “quoted”.")


def test_a_refusal_is_never_longer_than_what_is_read_of_one() -> None:
    fits = "x" * (2**16 - len(json.dumps(["code", ""])))
    assert len(refusal("code", fits)) == 2**16 == MOST_TEXT
    assert read_refusal(refusal("code", fits)) == ("code", fits)
    assert len(refusal("code", fits + "x")) == MOST_TEXT
    with pytest.raises(ValueError, match=r"Unterminated string|delimiter"):
        read_refusal(refusal("code", fits + "x"))


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        (b"", "Expecting value"), (b"null", "two strings"), (b"{}", "two strings"), (b'"ab"', "two strings"),
        (b"[]", "two strings"), (b'["a"]', "two strings"), (b'["a", "b", "c"]', "two strings"),
        (b"\xff\xfe\xff", "decode|truncated"), (b'["a", "b"', "delimiter"),
    ],
)  # fmt: skip
def test_anything_else_is_no_refusal(text: bytes, reason: str) -> None:
    with pytest.raises(ValueError, match=reason):
        read_refusal(text)


def test_a_refusal_holds_strings_whatever_was_sent() -> None:
    assert read_refusal(b'[1, {"a": null}]') == ("1", "{'a': None}")


@pytest.mark.parametrize("formats", [(), ("PNG",), ("JPEG", "PNG", "TIFF")])
def test_limits_arrive_as_they_were_sent(formats: tuple[str, ...]) -> None:
    limits = Limits(64_000_000, formats, 12_345)
    assert json.loads(limits_text(limits)) == [64_000_000, 12_345, list(formats)]
    assert read_limits(limits_text(limits)) == limits
