"""Where strings of JSON end. The truth is Python's own parser."""

import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from service.api.ingest.json_strings import (
    PIECE_BYTES,
    backslashes_before,
    count_in,
    string_end,
    without_strings,
)


@given(st.text(), st.text())
def test_a_string_ends_where_pythons_parser_says(text: str, rest: str) -> None:
    body = json.dumps(text)
    _, end = json.JSONDecoder().raw_decode(body)
    assert string_end((body + rest).encode(), 0) == len(body[:end].encode())


@pytest.mark.parametrize("text", [b'"', b'"a', b'"a\\"', b'"\\', b'"\\\\\\"'])
def test_a_string_without_an_end_ends_with_the_text(text: bytes) -> None:
    assert string_end(text, 0) == len(text)


@given(st.lists(st.text()), st.dictionaries(st.text(), st.text()))
def test_only_what_is_no_string_is_left(texts: list[str], named: dict[str, str]) -> None:
    found = without_strings(json.dumps([texts, named]).encode())
    wanted = json.dumps([[0 for _ in texts], {str(n): 0 for n, _ in enumerate(named)}])
    for digit in "0123456789":
        wanted = wanted.replace(digit, "")
    assert found.decode() == wanted.replace('"', "")


@pytest.mark.parametrize("count", [0, 1, 2, PIECE_BYTES - 1, PIECE_BYTES, 2 * PIECE_BYTES + 1])
def test_backslashes_are_counted_over_any_number_of_pieces(count: int) -> None:
    text = b'"a' + b"\\" * count + b'"'
    assert backslashes_before(text, len(text) - 1, 1) == count
    assert backslashes_before(text, len(text) - 1, 3) == max(0, count - 1), (
        "those before are left out"
    )


def test_a_byte_is_counted_over_any_number_of_pieces() -> None:
    text = b",a" * PIECE_BYTES
    assert count_in(text, b",") == PIECE_BYTES
    assert count_in(text, b",", 1, 6) == 2
