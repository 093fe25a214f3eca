"""Where strings of JSON end. The truth is Python's own parser."""

import json
from typing import Any

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


@given(st.lists(st.sampled_from(['\\"', "\\\\", "a", "ü", "\\n"])), st.integers(0, 2000))
def test_a_string_with_escapes_may_be_of_any_length(parts: list[str], count: int) -> None:
    body = f'"{"".join(parts) * count}"'.encode()
    _, end = json.JSONDecoder().raw_decode(body.decode())
    assert string_end(body + b'"', 0) == len(body)
    assert len(body.decode()[:end].encode()) == len(body)


@pytest.mark.parametrize("before", range(4))
@pytest.mark.parametrize("escape", ['\\"', "\\\\"])
def test_an_escape_may_lie_on_the_border_of_two_pieces(before: int, escape: str) -> None:
    body = f'"{"a" * before}{escape * PIECE_BYTES}"'.encode()
    assert string_end(body + b' ""', 0) == len(body)


class Counted(bytes):
    """Text that counts how often it is searched."""

    searches = 0

    def find(self, *arguments: Any) -> int:
        self.searches += 1
        return super().find(*arguments)


def test_escaped_quotation_marks_take_no_step_each() -> None:
    text = Counted(b'"' + b'\\"' * 100_000 + b'"')
    assert string_end(text, 0) == len(text)
    assert text.searches < 100


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
