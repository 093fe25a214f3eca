"""JSON that is parsed in pieces says what Python's own parser says, and no piece is large."""

import json
from dataclasses import replace
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from service.api.ingest.images import parse_json
from service.api.ingest.json_object import read_object
from service.api.ingest.json_pieces import PieceParser, parse_json_text
from service.api.ingest.json_strings import PIECE_BYTES

TINY = PieceParser(piece_bytes=24, long_bytes=3, most_rest_bytes=10**6)
LARGE = 3 * PIECE_BYTES

_TEXTS = st.text(alphabet=st.sampled_from('a/"\\\n\té日😀')) | st.text()
_VALUES = st.recursive(
    st.none() | st.booleans() | st.integers(-(10**6), 10**6) | _TEXTS,
    lambda inner: st.lists(inner) | st.dictionaries(_TEXTS, inner),
)


@given(_VALUES, st.sampled_from([{}, {"ensure_ascii": False}, {"indent": 1}]))
def test_the_pieces_say_what_the_whole_says(value: object, spelling: dict[str, Any]) -> None:
    text = json.dumps(value, **spelling)
    for spelled in (text, text.replace("/", "\\/")):
        assert TINY.parsed(spelled.encode()) == json.loads(spelled)


@given(st.text(alphabet=st.sampled_from('{}[],:"\\u0d8 1a'), min_size=25))
def test_what_is_no_json_is_none_in_pieces_either(text: str) -> None:
    try:
        wanted = parse_json_text(text.encode())
    except ValueError:
        with pytest.raises(ValueError):  # noqa: PT011  # its words are another test's
            TINY.parsed(text.encode())
    else:
        assert TINY.parsed(text.encode()) == wanted


class Counted:
    """A parser that notes how much it gets."""

    def __init__(self) -> None:
        self.sizes: list[int] = []

    def __call__(self, text: bytes) -> Any:
        self.sizes.append(len(text))
        return parse_json_text(text)


@pytest.mark.parametrize("unit", ["abcd", "\\/", "\\\\", "\\ud83d\\ude00", "é", "😀", '\\"'])
def test_no_call_of_the_parser_gets_more_than_a_piece(unit: str) -> None:
    counted = Counted()
    text = ('{"images": ["%s"], "more": 1}' % (unit * (LARGE // len(unit.encode())))).encode()
    assert replace(PieceParser(), parse=counted).parsed(text) == json.loads(text)
    assert len(counted.sizes) > 3
    assert max(counted.sizes) <= PIECE_BYTES + 2, "with its quotation marks"


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        (b'{"a": ' + b" " * 2**23 + b"1}", "more than 4 MiB beside its long strings"),
        (b'{"a": "' + b'b", "c": "' * 2**20 + b'"}', "more than 4 MiB beside its long strings"),
        (b'["a"' + b' "a"' * LARGE, "behind a string"),
        (b'{"a": "' + b"b" * LARGE, "EOF while parsing a string"),
        (b'{"a": "' + b"\\" * LARGE, "EOF while parsing a string"),
        (b'["' + b"a" * LARGE + b'\n"]', "control character"),
        (b'["' + b"a" * LARGE + b'\xff"]', "invalid unicode"),
        (b'["' + b"\\ud83d" * LARGE + b'"]', "surrogate"),
    ],
    ids=[
        "spaces",
        "strings",
        "strings in a row",
        "open",
        "backslashes",
        "control",
        "bytes",
        "half",
    ],
)
def test_what_is_large_and_wrong_is_refused_with_its_reason(text: bytes, reason: str) -> None:
    counted = Counted()
    with pytest.raises(ValueError, match=reason):
        replace(PieceParser(), parse=counted).parsed(text)
    assert max(counted.sizes, default=0) <= 2**22


def test_a_large_body_has_the_image_of_a_small_one() -> None:
    spelled = json.dumps({"images": ["QUJD" * LARGE, "####" * LARGE, "QUJD"]}).encode()
    first, second, third = parse_json(spelled, 3)
    assert (first, third) == (b"ABC" * LARGE, b"ABC")
    assert "not valid base64" in str(second)
    utf16 = spelled.decode().encode("utf-16")
    assert parse_json(utf16, 3)[0] == b"ABC" * LARGE
    given = read_object(b'{"model": "m", "image": "%b"}' % (b"QUJD" * LARGE), 5, "")
    assert given == {"model": "m", "image": "QUJD" * LARGE}
